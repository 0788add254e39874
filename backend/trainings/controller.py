"""Trainings over HTTP."""

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.models.schemas import AnyModelJson
from backend.security.authentication import CallerRequest
from backend.trainings.schemas import (
    Clients,
    CreateTraining,
    Detail,
    TrainingCreated,
    TrainingJson,
    TrainingProgress,
)
from backend.trainings.service import TrainingService

Trainings = NamedDependency[TrainingService]


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
