"""What an actor asks of the server: models, trainings, predictions."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

import httpx
import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from starling_client.calls import CHECKED_TIMEOUT_SECONDS, Call, Operation, fetch
from starling_client.errors import BadSubmission, InvalidRequest, UnusableModel, WrongAddress
from starling_client.model_files import tensor_bytes
from starling_client.wire import Aggregation, Standing, Training, TrainingListed, Uncertainty, User

Id = UUID | str
"""What a model, a training or a user is called; users by their name too."""


class SupportsArray(Protocol):
    """An array of numpy, a table of pandas, or alike."""

    def __array__(self) -> object: ...


Inputs = Tensor | bytes | Sequence[object] | SupportsArray
"""What a model takes, batch first; or the bytes of an image. Nested lists and float64 become
float32; a tensor stays as it is."""

ModelType = Literal["GLOBAL", "SWAG"]
"""SWAG if the uncertainty of the model is to be estimated by SWAG."""

Steering = Literal["start", "pause", "resume", "abort", "close-round"]

# As many as one request takes.
MAX_INVITED = 5_000


class ModelCreated(msgspec.Struct, frozen=True):
    """Answer to an upload."""

    model_id: UUID


class TrainingCreated(msgspec.Struct, frozen=True):
    """Answer to an order."""

    training_id: UUID


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over the rounds.

    Attributes:
        key: What is measured, such as `accuracy`.
        kind: `test`, of the global model; `update`, what came with the updates.
        reporter: The participant who measured it; None: the mean over the participants.
        points: Round and value; None: it was no finite number.
    """

    key: str
    kind: str
    reporter: UUID | None
    points: list[tuple[int, float | None]]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured in a training.

    Attributes:
        main: The key of its first metric; None: it has none.
        series: One for each metric, kind and reporter.
    """

    main: str | None
    series: list[Series]

    def mean(self, key: str, kind: Literal["test", "update"] = "test") -> dict[int, float]:
        """Round to mean over the participants, where there is one."""
        return {
            round: value
            for one in self.series
            if (one.key, one.kind, one.reporter) == (key, kind, None)
            for round, value in one.points
            if value is not None
        }


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction with its uncertainty, as far as the training's method gives one.

    Attributes:
        inference: Where the training has no uncertainty method the predicted classes, shape
            (batch, …), integers; else the mean output of the passes, shape (batch, classes, …).
        variance: Over the passes, shape of `inference`.
        std: Its square root.
        predictive_entropy: Of the mean prediction, nats, shape (batch, …): all uncertainty.
        expected_entropy: Mean entropy of the passes: what more data would not take away.
        mutual_info: The difference: what the model does not know.
    """

    inference: Tensor
    variance: Tensor | None = None
    std: Tensor | None = None
    predictive_entropy: Tensor | None = None
    expected_entropy: Tensor | None = None
    mutual_info: Tensor | None = None


def create_model(
    model: nn.Module | Path,
    *,
    name: str,
    description: str,
    input_shape: Sequence[int | None] | None,
    type: ModelType,
) -> Operation[UUID]:
    """Upload a global model; its id."""
    shape = ["None"] if input_shape is None else [str(size) for size in input_shape]
    created = yield from fetch(
        Call(
            "POST",
            "/api/models/",
            form={
                "name": name,
                "description": description or name,
                "type": type,
                "input_shape": shape,
            },
            files={"model_file": model if isinstance(model, Path) else module_bytes(model)},
            timeout_seconds=CHECKED_TIMEOUT_SECONDS,
            repeatable=False,
        ),
        ModelCreated,
    )
    return created.model_id


def create_training(
    model: Id,
    *,
    rounds: int,
    participants: Sequence[Id],
    metric_names: Sequence[str],
    aggregation: Aggregation,
    uncertainty: Uncertainty,
    options: Mapping[str, object],
) -> Operation[UUID]:
    """Set a training up; its id."""
    invited = yield from user_ids(participants)
    created = yield from fetch(
        Call(
            "POST",
            "/api/trainings/",
            json={
                "model_id": str(model),
                "target_num_updates": rounds,
                "metric_names": list(metric_names),
                "aggregation_method": aggregation,
                "uncertainty_method": uncertainty,
                "options": dict(options),
                "clients": invited[:MAX_INVITED],
            },
            repeatable=False,
        ),
        TrainingCreated,
    )
    yield from _register(created.training_id, invited[MAX_INVITED:])
    return created.training_id


def invite(training: Id, participants: Sequence[Id]) -> Operation[None]:
    """Make users participants."""
    yield from _register(training, (yield from user_ids(participants)))


def remove(training: Id, participants: Sequence[Id]) -> Operation[None]:
    """End the participation of users."""
    gone = yield from user_ids(participants)
    yield Call("DELETE", f"/api/trainings/{training}/clients/", json={"clients": gone})


def steer(training: Id, what: Steering) -> Operation[None]:
    """Start, pause, resume, abort, or close the open round."""
    yield Call("POST", f"/api/trainings/{training}/{what}/", repeatable=False)


def find_training(training: Id) -> Operation[Training]:
    """A training as it is now."""
    return fetch(Call("GET", f"/api/trainings/{training}/"), Training)


def list_trainings() -> Operation[list[TrainingListed]]:
    """Those that the caller runs."""
    return fetch(Call("GET", "/api/trainings/"), list[TrainingListed])


def standings(training: Id) -> Operation[list[Standing]]:
    """Who is waited for."""
    return fetch(Call("GET", f"/api/trainings/{training}/participants/"), list[Standing])


def metrics(training: Id) -> Operation[Metrics]:
    """What was measured."""
    return fetch(Call("GET", f"/api/trainings/{training}/metrics/"), Metrics)


def myself() -> Operation[User]:
    """The token's user."""
    return fetch(Call("GET", "/api/users/myself/"), User)


def predict(model: Id, inputs: Inputs, *, seed: int | None) -> Operation[Prediction]:
    """Have a model predict.

    Raises:
        BadSubmission: no tensor can be made of the inputs.
    """
    form: dict[str, object] = {"model_id": str(model), "return_format": "safetensors"}
    if seed is not None:
        form["seed"] = seed
    content = inputs if isinstance(inputs, bytes) else tensor_bytes(_tensor(inputs))
    answer = yield Call(
        "POST",
        "/api/inference/",
        form=form,
        files={"model_input": content},
        timeout_seconds=CHECKED_TIMEOUT_SECONDS,
    )
    return _prediction(answer)


def user_ids(named: Sequence[Id]) -> Operation[list[str]]:
    """Ids of users given by id or by name.

    Raises:
        InvalidRequest: nobody has such a name.
    """
    names = [str(one) for one in named if not _is_id(one)]
    if not names:
        return [str(one) for one in named]
    listed = yield from fetch(Call("GET", "/api/users/"), list[User])
    by_name = {user.username: str(user.id) for user in listed}
    if unknown := [name for name in names if name not in by_name]:
        detail = f"participants: nobody is called {', '.join(unknown)}."
        raise InvalidRequest(detail, 400, {"participants": [detail]})
    return [str(one) if _is_id(one) else by_name[str(one)] for one in named]


def module_bytes(model: nn.Module) -> bytes:
    """A model as a file that the server takes.

    One made of torch.nn's own layers is pickled, anything else becomes TorchScript.

    Raises:
        UnusableModel: TorchScript cannot express it.
    """
    file = io.BytesIO()
    # A ScriptModule is in torch.jit, and so are its parts.
    if all(type(part).__module__.startswith("torch.nn.modules.") for part in model.modules()):
        torch.save(model, file)
        return file.getvalue()
    with warnings.catch_warnings():
        # TorchScript is what the server takes for models with code of their own.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            torch.jit.save(torch.jit.script(model), file)
        except Exception as error:  # whatever the compiler stumbles over
            raise UnusableModel(
                "The model is not made of torch.nn's layers alone, and cannot be scripted: "
                f"{str(error).strip()}\nDefine its class in a file, or save the model by "
                "torch.jit.trace or torch.export, and give the path."
            ) from error
    return file.getvalue()


def _register(training: Id, users: Sequence[str]) -> Operation[None]:
    for start in range(0, len(users), MAX_INVITED):
        some = users[start : start + MAX_INVITED]
        yield Call("PUT", f"/api/trainings/{training}/clients/", json={"clients": some})


def _is_id(given: Id) -> bool:
    try:
        UUID(str(given))
    except ValueError:
        return False
    return True


def _tensor(inputs: Tensor | Sequence[object] | SupportsArray) -> Tensor:
    if isinstance(inputs, Tensor):
        return inputs.detach().cpu()
    try:
        if isinstance(inputs, Sequence):
            return torch.tensor(inputs, dtype=torch.float32)
        # Asked for itself, for torch knows arrays of numpy only; a copy, for it may be read-only.
        tensor = torch.tensor(inputs.__array__())
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BadSubmission(
            f"No tensor can be made of the inputs: {error} Give a torch.Tensor, an array or the "
            "bytes of an image."
        ) from error
    # What numpy computes in; models compute in float32.
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _prediction(answer: httpx.Response) -> Prediction:
    try:
        tensors = safetensors.torch.load(answer.content)
        known = {
            name.removeprefix("uncertainty."): tensor
            for name, tensor in tensors.items()
            if name.removeprefix("uncertainty.") in Prediction.__struct_fields__
        }
        return Prediction(**known)
    except (safetensors.SafetensorError, TypeError) as error:
        raise WrongAddress(f"{answer.url} does not answer with a prediction: {error}.") from error
