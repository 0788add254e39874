"""Trainings over HTTP."""

from typing import Annotated

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.metrics.series import TrainingMetrics
from backend.models.schemas import AnyModelJson
from backend.security.authentication import CallerRequest
from backend.trainings.schemas import (
    Clients,
    CreateTraining,
    Detail,
    Overview,
    ParticipantJson,
    RoundJson,
    TrainingCreated,
    TrainingJson,
    TrainingProgress,
)
from backend.trainings.service import TrainingService

Trainings = NamedDependency[TrainingService]


MAX_OVERVIEW = 500
DEFAULT_OVERVIEW = 100


@get("/api/overview/", tags=("trainings",))
async def overview(
    request: CallerRequest,
    training_service: Trainings,
    limit: Annotated[
        int, QueryParameter(ge=1, le=MAX_OVERVIEW, description="At most so many.")
    ] = DEFAULT_OVERVIEW,
) -> Overview:
    """Trainings that the caller runs or takes part in: those that run, then the recently active.

    With the progress of each, the course of its main metric over the last rounds, and who is
    missing.
    """
    return await training_service.overview(request.user, limit=limit)


class TrainingController(Controller):
    """Set up, start, watch, delete; who takes part."""

    path = "/api/trainings"
    tags = ("trainings",)

    @post("/")
    async def create(
        self, request: CallerRequest, data: JSONBody[CreateTraining], training_service: Trainings
    ) -> TrainingCreated:
        """Set a training up; the content type of the body does not matter, it must be JSON."""
        training_id = await training_service.create(data, request.user)
        return TrainingCreated("Training created successfully!", training_id)

    @get("/")
    async def list_trainings(
        self, request: CallerRequest, training_service: Trainings
    ) -> list[TrainingJson]:
        """Trainings that the caller runs."""
        return await training_service.list_run(request.user)

    @get("/{training_id:str}/")
    async def get_training(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> TrainingProgress:
        """One training with the progress of its round."""
        return await training_service.get(training_id, request.user)

    @delete("/{training_id:str}/", status_code=200)
    async def delete_training(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """Remove a training; a running one is aborted."""
        await training_service.delete(training_id, request.user)
        return Detail("Training removed!")

    @post("/{training_id:str}/start/", status_code=202)
    async def start(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """Begin the first round."""
        await training_service.start(training_id, request.user)
        return Detail("Training started!")

    @post("/{training_id:str}/pause/", status_code=202)
    async def pause(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """Ask participants for nothing new and stop the clock; what they deliver is taken."""
        await training_service.pause(training_id, request.user)
        return Detail("Training paused!")

    @post("/{training_id:str}/resume/", status_code=202)
    async def resume(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """Go on after a pause."""
        await training_service.resume(training_id, request.user)
        return Detail("Training resumed!")

    @post("/{training_id:str}/close-round/", status_code=202)
    async def close_round(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """Wait for nobody else in the open round: aggregate what is there, or end its tests."""
        await training_service.close_round(training_id, request.user)
        return Detail("Round closed!")

    @post("/{training_id:str}/abort/", status_code=202)
    async def abort(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> Detail:
        """End a running training in state E, with the model as it is."""
        await training_service.abort(training_id, request.user)
        return Detail("Training aborted!")

    @put("/{training_id:str}/clients/", status_code=202)
    async def register(
        self,
        request: CallerRequest,
        training_id: FromPath[str],
        data: JSONBody[Clients],
        training_service: Trainings,
    ) -> Detail:
        """Make users participants."""
        await training_service.register(training_id, data.clients, request.user)
        return Detail("Users registered as participants!")

    @delete("/{training_id:str}/clients/", status_code=200)
    async def remove(
        self,
        request: CallerRequest,
        training_id: FromPath[str],
        data: JSONBody[Clients],
        training_service: Trainings,
    ) -> Detail:
        """End the participation of users."""
        await training_service.remove(training_id, data.clients, request.user)
        return Detail("Users removed from training participants!")

    @get("/{training_id:str}/participants/")
    async def participants(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> list[ParticipantJson]:
        """Who takes part and what is awaited of them; a participant sees only themselves."""
        return await training_service.participants(training_id, request.user)

    @get("/{training_id:str}/rounds/")
    async def rounds(
        self,
        request: CallerRequest,
        training_id: FromPath[str],
        training_service: Trainings,
        since: Annotated[
            int, QueryParameter(ge=0, le=1_000_000, description="Index of the first round wanted.")
        ] = 0,
    ) -> list[RoundJson]:
        """Every round so far, with the aggregator's figures for the actor."""
        return await training_service.rounds(training_id, request.user, since=since)

    @get("/{training_id:str}/metrics/")
    async def metrics(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> TrainingMetrics:
        """Metrics as series over rounds, of each reporter and of all; a participant sees their own.

        The series without reporter is the mean over the participants, for the actor weighted by the
        sample size of each one's latest accepted update. Participants get the plain mean, and of
        tests only: a weighted one would tell them the others' sample sizes.
        """
        return await training_service.metrics(training_id, request.user)

    @get("/{training_id:str}/models/")
    async def models(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> list[AnyModelJson]:
        """The global model, then the local models that the caller may see."""
        return await training_service.models(training_id, request.user, latest=False)

    @get("/{training_id:str}/models/latest/")
    async def latest_models(
        self, request: CallerRequest, training_id: FromPath[str], training_service: Trainings
    ) -> list[AnyModelJson]:
        """The global model and each participant's newest local model."""
        return await training_service.models(training_id, request.user, latest=True)
