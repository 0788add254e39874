"""Taking part in a training: one task after the other, until it is over."""

import contextlib
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from uuid import UUID

from starling_client.calls import Operation
from starling_client.connection import AsyncConnection, Connection
from starling_client.course import Course, canonical_id, only_training
from starling_client.errors import StarlingError
from starling_client.settings import line, training_setting
from starling_client.tasks import AsyncTask, Task
from starling_client.transfers import ModelFiles
from starling_client.webhooks import Webhook, WebhookReceiver

# A participant outlives a night's maintenance of the server.
PATIENCE_SECONDS = 12 * 3600.0


def join(
    url: str | None = None,
    token: str | None = None,
    *,
    training: str | UUID | None = None,
    webhook: Webhook | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Generator[Task, None, None]:
    """Take part in a training; gives what there is to do, and ends with the training.

        for task in join(url, token, training=training_id):
            model = task.model()
            ...
            task.submit(model, metrics={"loss": loss}, sample_size=len(samples))

    It waits for the server to ask for something, with nothing to open in a firewall. Started again
    after a crash, it goes on with what the server still waits for. Each task is given once; one
    that is not submitted is left to the others.

    Args:
        url: Address of the server; by default STARLING_CLIENT_URL.
        token: The participant's; by default STARLING_CLIENT_TOKEN.
        training: Its id; by default STARLING_CLIENT_TRAINING, or the only one that is not over.
            Where there is none yet, it is waited for.
        webhook: Have the server say when there is something, at an address that it reaches.
        patience_seconds: For how long an unreachable server is waited for. One that was never
            reached is given up after ten seconds.

    Raises:
        MissingSetting, WrongAddress, Unreachable: the server cannot be asked.
        NotAuthenticated, UnknownTraining, NotAParticipant: it does not let this participant join.
        TrainingFailed, RemovedFromTraining: it ended before its end.
    """
    with (
        Connection(line(url, token, patience_seconds)) as connection,
        _workplace(webhook) as workplace,
    ):
        course = connection.run(workplace.begin(training))
        try:
            while (work := connection.run(course.next_work())) is not None:
                yield Task(connection, work, course, workplace.files, workplace.folder)
        finally:
            # Whatever ended it counts more than a server that is away.
            with contextlib.suppress(StarlingError):
                connection.run(workplace.end())


async def join_async(
    url: str | None = None,
    token: str | None = None,
    *,
    training: str | UUID | None = None,
    webhook: Webhook | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> AsyncGenerator[AsyncTask, None]:
    """Take part in a training as `join` does; tasks are asked for by `async for`."""
    async with AsyncConnection(line(url, token, patience_seconds)) as connection:
        with _workplace(webhook) as workplace:
            course = await connection.run(workplace.begin(training))
            try:
                while (work := await connection.run(course.next_work())) is not None:
                    yield AsyncTask(connection, work, course, workplace.files, workplace.folder)
            finally:
                with contextlib.suppress(StarlingError):
                    await connection.run(workplace.end())


class _Workplace:
    """What a participant has open while taking part: a folder, and an endpoint for webhooks."""

    def __init__(
        self, folder: Path, receiver: WebhookReceiver | None, woken: threading.Event
    ) -> None:
        self.folder = folder
        self.files = ModelFiles(folder)
        self._receiver = receiver
        self._woken = woken

    def begin(self, training: str | UUID | None) -> Operation[Course]:
        """Find the training, look whether one is let in, then ask for webhooks."""
        given = training_setting(training)
        training_id = (yield from only_training()) if given is None else canonical_id(given)
        course = Course(training_id, None if self._receiver is None else self._woken)
        yield from course.look()
        if self._receiver is not None:
            yield from self._receiver.register()
        return course

    def end(self) -> Operation[None]:
        """Ask for no more webhooks."""
        if self._receiver is not None:
            yield from self._receiver.unregister()


@contextlib.contextmanager
def _workplace(webhook: Webhook | None) -> Iterator[_Workplace]:
    woken = threading.Event()
    with contextlib.ExitStack() as open_while:
        folder = open_while.enter_context(
            tempfile.TemporaryDirectory(prefix="starling-client-", ignore_cleanup_errors=True)
        )
        receiver = None
        if webhook is not None:
            receiver = WebhookReceiver(webhook, woken)
            open_while.callback(receiver.close)
        yield _Workplace(Path(folder), receiver, woken)
