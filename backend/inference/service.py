"""Use cases of predictions."""

import functools

import msgspec

from backend.db.lookups import Lookups
from backend.db.tables import GlobalModel, Training
from backend.errors import InvalidRequest, NotAllowed, NotFound
from backend.forms import FormReader
from backend.inference.records import Asked, Subject, find_subjects
from backend.inference.schemas import PredictionOrder
from backend.models.access import MAY_READ_LOCAL, Relation, find_model, global_model_of
from backend.models.presentation import decoded_members, decoded_shape
from backend.security.caller import Caller
from backend.security.ids import parse_id
from backend.trainings.options import UncertaintyOptions, parse_options
from compute.contract import Predict, Prediction, Rejected, UncertaintyMethod
from compute.gateway import ComputeGateway

MAY_PREDICT_LOCAL = MAY_READ_LOCAL & ~Relation.SUPERUSER
NOT_YOURS = "You are neither the owner of the model nor actor or participant of its training."


class InferenceService:
    """Finds out how a model predicts, and has it predict.

    Attributes:
        forms: Reads the requests that are forms.
    """

    def __init__(self, gateway: ComputeGateway, forms: FormReader) -> None:
        self.forms = forms
        self._gateway = gateway
        self._subjects = Lookups(find_subjects)

    async def predict(self, order: PredictionOrder, caller: Caller) -> Prediction:
        """The encoded prediction.

        The method is that of the model's training; a model without one predicts as NONE.

        Raises:
            NotFound, NotAllowed: no such model, or it is not the caller's to use.
            InvalidRequest: the input does not fit, the model fails on it or cannot do the method.
        """
        asked = Asked(parse_id("Model", order.model_id), caller.id)
        subject = await self._subjects.get(asked)
        if subject is None:
            subject = await _local_subject(order.model_id, caller)
        if not subject.is_callers:
            raise NotAllowed(NOT_YOURS)
        settings = await _settings(subject)
        try:
            return await self._gateway.predict(
                msgspec.structs.replace(
                    settings,
                    asked_by=str(caller.id),
                    values=order.values,
                    content=order.content,
                    return_format=order.return_format,
                    seed=order.seed,
                )
            )
        except Rejected as rejected:
            raise InvalidRequest(
                rejected.detail, errors={"model_input": [rejected.detail]}
            ) from rejected


async def _local_subject(given_id: str, caller: Caller) -> Subject:
    """A local model; its input is its global model's. Raises as `InferenceService.predict`."""
    found = await find_model(given_id, caller)
    model = found.model
    if not model.is_local:
        raise NotFound("Model", given_id)
    found.require(MAY_PREDICT_LOCAL, NOT_YOURS)
    if not model.kept:
        raise NotFound("Model", given_id)
    base = await global_model_of(model)
    training = await Training.objects().get(Training.id == model.training)
    return Subject(
        kind="LOCAL",
        digest=model.digest,
        input_shape=base.input_shape,
        preprocessing_digest=base.preprocessing_digest,
        structure_digest=base.digest,
        uncertainty_method=None if training is None else training.uncertainty_method,
        options="{}" if training is None else training.options,
        is_callers=True,
    )


async def _settings(subject: Subject) -> Predict:
    """How the model predicts, without an input."""
    options = _uncertainty_options(subject.options)
    trained = subject.uncertainty_method is not None
    method = UncertaintyMethod(subject.uncertainty_method or UncertaintyMethod.NONE)
    keys, moments = [subject.digest], None
    match subject.kind:
        case "LOCAL":
            # The moments are the global model's; this one has none of its own.
            method = UncertaintyMethod.NONE if method == UncertaintyMethod.SWAG else method
        case "MEAN":
            method, keys = await _ensemble(subject, method)
        case "SWAG" if not trained or method == UncertaintyMethod.SWAG:
            moments = _required_moments(subject.swag_first_digest, subject.swag_second_digest)
    return Predict(
        model_keys=keys,
        structure_key=subject.structure_digest,
        preprocessing_key=subject.preprocessing_digest,
        input_shape=decoded_shape(subject.input_shape),
        method=method,
        samples=options.N,
        softmax=options.softmax,
        moment_keys=moments if method == UncertaintyMethod.SWAG else None,
    )


@functools.lru_cache(maxsize=1024)
def _uncertainty_options(options: str) -> UncertaintyOptions:
    """Of a training's options, which were checked when it was created."""
    return parse_options(msgspec.json.decode(options, type=dict[str, object])).uncertainty


async def _ensemble(
    mean: Subject, method: UncertaintyMethod
) -> tuple[UncertaintyMethod, list[str]]:
    """An ensemble predicts with all its members; as NONE, with their mean module."""
    if method != UncertaintyMethod.ENSEMBLE:
        return UncertaintyMethod.NONE, [mean.digest]
    members = decoded_members(mean.members)
    rows = await GlobalModel.select(GlobalModel.id, GlobalModel.digest).where(
        GlobalModel.id.is_in(members)
    )
    digests = {row["id"]: row["digest"] for row in rows}
    return method, [digests[member] for member in members]


def _required_moments(first: str | None, second: str | None) -> tuple[str, str]:
    if first is None or second is None:
        raise InvalidRequest(
            "This SWAG model has no moments yet; they come with the first SWAG round."
        )
    return first, second
