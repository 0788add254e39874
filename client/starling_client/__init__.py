"""Join a Starling federated training from an existing PyTorch loop, or run one.

A participant:

    for task in starling_client.join(url, token, training=training_id):
        model = task.model()
        ...
        task.submit(model, metrics={"loss": loss}, sample_size=len(samples))

An actor:

    starling = starling_client.Starling(url, token)
    model = starling.models.create(network, name="Digits")
    training = starling.trainings.create(model, rounds=10, participants=[…])
"""

import importlib
from typing import TYPE_CHECKING

from starling_client import errors
from starling_client.accounts import Account, register
from starling_client.course import TaskKind
from starling_client.errors import StarlingError
from starling_client.events import Event
from starling_client.webhooks import Webhook

if TYPE_CHECKING:
    from starling_client.actor import AsyncStarling, Starling
    from starling_client.clipping import clip_update
    from starling_client.fedprox import proximal
    from starling_client.orders import Prediction
    from starling_client.participation import join, join_async
    from starling_client.swag import SwagMoments
    from starling_client.tasks import AsyncTask, Outcome, Receipt, Task

__all__ = [
    "Account",
    "AsyncStarling",
    "AsyncTask",
    "Event",
    "Outcome",
    "Prediction",
    "Receipt",
    "Starling",
    "StarlingError",
    "SwagMoments",
    "Task",
    "TaskKind",
    "Webhook",
    "clip_update",
    "errors",
    "join",
    "join_async",
    "proximal",
    "register",
]

# What loads PyTorch, and where it is: nobody waits seconds for that to register a user.
_WITH_TORCH = {
    "AsyncStarling": "actor",
    "AsyncTask": "tasks",
    "Outcome": "tasks",
    "Prediction": "orders",
    "Receipt": "tasks",
    "Starling": "actor",
    "SwagMoments": "swag",
    "Task": "tasks",
    "clip_update": "clipping",
    "join": "participation",
    "join_async": "participation",
    "proximal": "fedprox",
}


# A type checker has the names from above, and would take any other one for good.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _WITH_TORCH:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
