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

from starling_client import errors
from starling_client.actor import AsyncStarling, Starling, register
from starling_client.clipping import clip_update
from starling_client.course import TaskKind
from starling_client.errors import StarlingError
from starling_client.events import Event
from starling_client.fedprox import proximal
from starling_client.orders import Account, Prediction
from starling_client.participation import join, join_async
from starling_client.swag import SwagMoments
from starling_client.tasks import AsyncTask, Outcome, Receipt, Task
from starling_client.webhooks import Webhook

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
