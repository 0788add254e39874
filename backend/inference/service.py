"""Use cases of predictions."""

import msgspec

from backend.db.tables import GlobalModel, LocalModel, Training
from backend.errors import InvalidRequest, NotFound
from backend.inference.schemas import PredictionOrder
from backend.models.access import MAY_READ_LOCAL, Relation, find_model
from backend.models.presentation import members_of, shape_of
from backend.models.service import global_model_of
from backend.rounds.records import options_of
from backend.security.authentication import Caller
from compute.contract import Predict, Prediction, Rejected, UncertaintyMethod
from compute.gateway import ComputeGateway

MAY_PREDICT = Relation.OWNER | Relation.ACTOR | Relation.PARTICIPANT


class InferenceService:
    """Finds out how a model predicts, and has it predict."""

    def __init__(self, gateway: ComputeGateway) -> None:
        self._gateway = gateway

    async def predict(self, order: PredictionOrder, caller: Caller) -> Prediction:
        """The encoded prediction.

        The method is that of the model's training; a model without one predicts as NONE.

        Raises:
            NotFound, NotAllowed: no such model, or it is not the caller's to use.
            InvalidRequest: the input does not fit, the model fails on it or cannot do the method.
        """
        found = await find_model(order.model_id, caller)
        is_local = isinstance(found.model, LocalModel)
        found.require(
            MAY_READ_LOCAL & ~Relation.SUPERUSER if is_local else MAY_PREDICT,
            "You are neither the owner of the model nor actor or participant of its training.",
        )
        if isinstance(found.model, LocalModel) and not found.model.kept:
            raise NotFound("Model", order.model_id)
        base = await global_model_of(found)
        settings = await _settings(found.model, base, found.training)
        try:
            return await self._gateway.predict(
                msgspec.structs.replace(
                    settings,
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


async def _settings(
    model: GlobalModel | LocalModel, base: GlobalModel, training: Training | None
) -> Predict:
    """How the model predicts, without an input."""
    method, samples, softmax = UncertaintyMethod.NONE, 10, False
    if training is not None:
        options = options_of(training).uncertainty
        method = UncertaintyMethod(training.uncertainty_method)
        samples, softmax = options.N, options.softmax
    keys, moments = [str(model.digest)], None
    if isinstance(model, LocalModel):
        # The moments are the global model's; this one has none of its own.
        method = UncertaintyMethod.NONE if method == UncertaintyMethod.SWAG else method
    elif model.kind == "MEAN":
        method, keys = await _ensemble(model, method)
    elif model.kind == "SWAG" and (training is None or method == UncertaintyMethod.SWAG):
        moments = _required_moments(model.swag_first_digest, model.swag_second_digest)
    return Predict(
        model_keys=keys,
        preprocessing_key=base.preprocessing_digest,
        input_shape=shape_of(base),
        method=method,
        samples=samples,
        softmax=softmax,
        moment_keys=moments if method == UncertaintyMethod.SWAG else None,
    )


async def _ensemble(
    mean: GlobalModel, method: UncertaintyMethod
) -> tuple[UncertaintyMethod, list[str]]:
    """An ensemble predicts with all its members; as NONE, with their mean module."""
    if method != UncertaintyMethod.ENSEMBLE:
        return UncertaintyMethod.NONE, [str(mean.digest)]
    members = members_of(mean)
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
