"""Use cases of metrics."""

from uuid import UUID

from backend.db.bulk import insert_all
from backend.db.engine import Database
from backend.db.tables import Metric
from backend.errors import InvalidRequest
from backend.metrics.schemas import MetricJson
from backend.metrics.values import MetricValue, metric_rows, shown_value
from backend.models.access import MAY_READ_LOCAL, Relation, find_model, find_readable
from backend.rounds.coordinator import Coordinator
from backend.security.caller import Caller

MAY_REPORT = Relation.OWNER | Relation.ACTOR | Relation.PARTICIPANT


class MetricService:
    """Records and lists metrics; a test report may end a round, which the coordinator decides."""

    def __init__(self, *, database: Database, coordinator: Coordinator) -> None:
        self._database = database
        self._coordinator = coordinator

    async def report(self, given_id: str, values: list[MetricValue], caller: Caller) -> UUID:
        """Record metrics of a model; its id.

        Raises:
            NotFound: no such model.
            NotAllowed: the caller is neither owner, actor nor participant.
            InvalidRequest: there are no metrics.
        """
        found = await find_model(given_id, caller)
        model = found.model
        found.require(
            MAY_READ_LOCAL & ~Relation.SUPERUSER if model.is_local else MAY_REPORT,
            "You are neither the owner of the model nor actor or participant of its training.",
        )
        if not values:
            raise InvalidRequest(
                "Metric names or values are missing",
                errors={"metric_names": ["Send at least one metric."]},
            )
        if model.is_local:
            async with self._database.write_transaction():
                await insert_all(Metric, metric_rows(model.id, caller.id, model.round, values))
        else:
            await self._coordinator.report_metrics(model.id, caller.id, values)
        return model.id

    async def list(self, given_id: str, caller: Caller) -> list[MetricJson]:
        """Metrics of a model in the order of arrival. Raises `NotFound` or `NotAllowed`."""
        found = await find_readable(given_id, caller)
        rows = await Metric.objects().where(Metric.model == found.model.id).order_by(Metric.id)
        return [_metric_json(row) for row in rows]


def _metric_json(row: Metric) -> MetricJson:
    number, binary = shown_value(row)
    return MetricJson(
        id=row.id,
        identifier=row.identifier,
        key=row.key,
        value_float=number,
        value_binary=binary,
        step=row.step,
        model=row.model,
        reporter=row.reporter,
    )
