"""Running trainings from Python: `Starling`, and `AsyncStarling` for who awaits."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self
from uuid import UUID

from torch import nn

from starling_client import orders
from starling_client.calls import Operation, Wait
from starling_client.connection import AsyncConnection, Connection
from starling_client.events import Event, EventLog
from starling_client.model_files import load_module
from starling_client.orders import Id, Inputs, Metrics, ModelType, Prediction
from starling_client.settings import PATIENCE_SECONDS, line
from starling_client.transfers import ModelFiles
from starling_client.wire import (
    Aggregation,
    Standing,
    Training,
    TrainingListed,
    Uncertainty,
    User,
)

# Between the streams of a log, so that one that ends at once is not asked for without a pause.
RECONNECT_SECONDS = 1.0


class Models:
    """Models on the server: `starling.models`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        model: nn.Module | Path,
        *,
        name: str,
        description: str = "",
        input_shape: Sequence[int | None] | None = None,
        type: ModelType = "GLOBAL",
    ) -> UUID:
        """Upload a global model; its id.

        Args:
            model: Made of torch.nn's layers, or scriptable; or the path of a file with one.
            input_shape: None for a dimension of any size, such as that of the batch.
            type: SWAG if its uncertainty is to be estimated by SWAG.

        Raises:
            UnusableModel: no file that the server takes can be made of it.
            InvalidRequest: the server says what is wrong with it.
        """
        return self._connection.run(
            orders.create_model(
                model, name=name, description=description, input_shape=input_shape, type=type
            )
        )

    def load(self, model: Id) -> nn.Module:
        """A model as it is now, in eval mode where it has one, on the CPU."""
        with tempfile.TemporaryDirectory(prefix="starling-client-") as folder:
            return self._connection.run(_loaded(model, Path(folder)))


class Trainings:
    """Trainings on the server, each given by its id: `starling.trainings`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        model: Id,
        *,
        rounds: int,
        participants: Sequence[Id] = (),
        metric_names: Sequence[str] = (),
        aggregation: Aggregation = "FedAvg",
        uncertainty: Uncertainty = "NONE",
        options: Mapping[str, object] | None = None,
    ) -> UUID:
        """Set a training of one's own model up; its id. It begins with `start`.

        Args:
            participants: By id or user name; more can be invited at any time.
            metric_names: What participants report; the first is the main one.
            options: See docs/trainings.md.

        Raises:
            InvalidRequest: the server says which field is wrong.
        """
        return self._connection.run(
            orders.create_training(
                model,
                rounds=rounds,
                participants=participants,
                metric_names=metric_names,
                aggregation=aggregation,
                uncertainty=uncertainty,
                options=options or {},
            )
        )

    def list(self) -> list[TrainingListed]:
        """Those that one runs."""
        return self._connection.run(orders.list_trainings())

    def get(self, training: Id) -> Training:
        """A training as it is now."""
        return self._connection.run(orders.find_training(training))

    def invite(self, training: Id, participants: Sequence[Id]) -> None:
        """Make users participants, by id or user name."""
        self._connection.run(orders.invite(training, participants))

    def remove(self, training: Id, participants: Sequence[Id]) -> None:
        """End the participation of users."""
        self._connection.run(orders.remove(training, participants))

    def standings(self, training: Id) -> Sequence[Standing]:
        """Of every participant: whether something is waited for, and there."""
        return self._connection.run(orders.standings(training))

    def metrics(self, training: Id) -> Metrics:
        """What was measured, over the rounds."""
        return self._connection.run(orders.metrics(training))

    def start(self, training: Id) -> None:
        """Begin the first round."""
        self._connection.run(orders.steer(training, "start"))

    def pause(self, training: Id) -> None:
        """Ask participants for nothing new, and stop the clock."""
        self._connection.run(orders.steer(training, "pause"))

    def resume(self, training: Id) -> None:
        """Go on after a pause."""
        self._connection.run(orders.steer(training, "resume"))

    def close_round(self, training: Id) -> None:
        """Wait for nobody else in the open round."""
        self._connection.run(orders.steer(training, "close-round"))

    def abort(self, training: Id) -> None:
        """End the training, with the model as it is."""
        self._connection.run(orders.steer(training, "abort"))

    def follow(self, training: Id, *, after: int = 0) -> Iterator[Event]:
        """What happens in a training, from its creation on, until it is over.

        Args:
            after: Id of the last event known already.
        """
        log = EventLog(training, after)
        while True:
            with contextlib.closing(self._connection.lines(log.call())) as lines:
                for text in lines:
                    if (event := log.take(text)) is not None:
                        yield event
                    if log.ended:
                        return
            self._connection.run(_pause())


class Starling:
    """A server, as who runs trainings there sees it.

        with Starling(url, token) as starling:
            starling.trainings.start(training)

    Attributes:
        models: Upload and load.
        trainings: Create, steer, follow.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: By default STARLING_CLIENT_URL.
            token: By default STARLING_CLIENT_TOKEN.
            patience_seconds: For how long what may succeed later is tried again.
        """
        self._connection = Connection(line(url, token, patience_seconds))
        self.models: Models = Models(self._connection)
        self.trainings: Trainings = Trainings(self._connection)

    def myself(self) -> User:
        """The token's user."""
        return self._connection.run(orders.myself())

    def predict(self, model: Id, inputs: Inputs, *, seed: int | None = None) -> Prediction:
        """A prediction with its uncertainty, by the method of the model's training.

        Args:
            inputs: What the model takes, batch first, as a tensor, array or nested lists; or the
                bytes of an image.
            seed: Of what is drawn; the same seed gives the same prediction.
        """
        return self._connection.run(orders.predict(model, inputs, seed=seed))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncModels:
    """`Models` for who awaits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        model: nn.Module | Path,
        *,
        name: str,
        description: str = "",
        input_shape: Sequence[int | None] | None = None,
        type: ModelType = "GLOBAL",
    ) -> UUID:
        """As `Models.create`."""
        return await self._connection.run(
            orders.create_model(
                model, name=name, description=description, input_shape=input_shape, type=type
            )
        )

    async def load(self, model: Id) -> nn.Module:
        """As `Models.load`."""
        with tempfile.TemporaryDirectory(prefix="starling-client-") as folder:
            return await self._connection.run(_loaded(model, Path(folder)))


class AsyncTrainings:
    """`Trainings` for who awaits; `follow` is looped over by `async for`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        model: Id,
        *,
        rounds: int,
        participants: Sequence[Id] = (),
        metric_names: Sequence[str] = (),
        aggregation: Aggregation = "FedAvg",
        uncertainty: Uncertainty = "NONE",
        options: Mapping[str, object] | None = None,
    ) -> UUID:
        """As `Trainings.create`."""
        return await self._connection.run(
            orders.create_training(
                model,
                rounds=rounds,
                participants=participants,
                metric_names=metric_names,
                aggregation=aggregation,
                uncertainty=uncertainty,
                options=options or {},
            )
        )

    async def list(self) -> list[TrainingListed]:
        """As `Trainings.list`."""
        return await self._connection.run(orders.list_trainings())

    async def get(self, training: Id) -> Training:
        """As `Trainings.get`."""
        return await self._connection.run(orders.find_training(training))

    async def invite(self, training: Id, participants: Sequence[Id]) -> None:
        """As `Trainings.invite`."""
        await self._connection.run(orders.invite(training, participants))

    async def remove(self, training: Id, participants: Sequence[Id]) -> None:
        """As `Trainings.remove`."""
        await self._connection.run(orders.remove(training, participants))

    async def standings(self, training: Id) -> Sequence[Standing]:
        """As `Trainings.standings`."""
        return await self._connection.run(orders.standings(training))

    async def metrics(self, training: Id) -> Metrics:
        """As `Trainings.metrics`."""
        return await self._connection.run(orders.metrics(training))

    async def start(self, training: Id) -> None:
        """As `Trainings.start`."""
        await self._connection.run(orders.steer(training, "start"))

    async def pause(self, training: Id) -> None:
        """As `Trainings.pause`."""
        await self._connection.run(orders.steer(training, "pause"))

    async def resume(self, training: Id) -> None:
        """As `Trainings.resume`."""
        await self._connection.run(orders.steer(training, "resume"))

    async def close_round(self, training: Id) -> None:
        """As `Trainings.close_round`."""
        await self._connection.run(orders.steer(training, "close-round"))

    async def abort(self, training: Id) -> None:
        """As `Trainings.abort`."""
        await self._connection.run(orders.steer(training, "abort"))

    async def follow(self, training: Id, *, after: int = 0) -> AsyncIterator[Event]:
        """As `Trainings.follow`."""
        log = EventLog(training, after)
        while True:
            async with contextlib.aclosing(self._connection.lines(log.call())) as lines:
                async for text in lines:
                    if (event := log.take(text)) is not None:
                        yield event
                    if log.ended:
                        return
            await self._connection.run(_pause())


class AsyncStarling:
    """`Starling` for who awaits."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing is asked yet; arguments as for `Starling`."""
        self._connection = AsyncConnection(line(url, token, patience_seconds))
        self.models: AsyncModels = AsyncModels(self._connection)
        self.trainings: AsyncTrainings = AsyncTrainings(self._connection)

    async def myself(self) -> User:
        """As `Starling.myself`."""
        return await self._connection.run(orders.myself())

    async def predict(self, model: Id, inputs: Inputs, *, seed: int | None = None) -> Prediction:
        """As `Starling.predict`."""
        return await self._connection.run(orders.predict(model, inputs, seed=seed))

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _loaded(model: Id, folder: Path) -> Operation[nn.Module]:
    path = yield from ModelFiles(folder).fetch(UUID(str(model)), "original")
    return load_module(path)


def _pause() -> Operation[None]:
    yield Wait(RECONNECT_SECONDS)
