"""What participants cost who wait: memory, CPU, and how soon all of them hear of something."""

import asyncio
import resource
import time
from collections.abc import Sequence

import psutil
from torch import nn

from benchmarks.crowd import Participant, create_training, register, register_all, upload_model
from benchmarks.measurement import Series
from benchmarks.report import Figure, Report, figure, report
from benchmarks.wire import Connection
from tests.servers import Server, short_temporary_folder

PARTICIPANTS = 1000
REPETITIONS = 5
# Each asks again once a minute, so a minute has all that waiting costs.
WATCHED_SECONDS = 60.0
SETTLED_SECONDS = 3.0
MOST_MEMORY_MIB = 150.0
MOST_CPU_PERCENT = 2.0
MOST_SECONDS = 1.0
OPEN_FILES = 8192
_MIB = 1024**2


def measure(*, quick: bool) -> Report:
    """Start a server, have everybody wait, look, and tell them something a few times."""
    _allow_open_files()
    number = 100 if quick else PARTICIPANTS
    with short_temporary_folder("bench") as folder:
        server = Server(folder / "data", environment={"STARLING_RAY_DASHBOARD": "false"})
        try:
            server.start_and_wait()
            figures = asyncio.run(
                _watched(
                    server,
                    number,
                    watched_seconds=5.0 if quick else WATCHED_SECONDS,
                    repetitions=2 if quick else REPETITIONS,
                )
            )
            server.stop()
        finally:
            server.kill_if_running()
    return report(
        "idle",
        f"{number} participants that wait",
        figures,
        "Long polls of 60 seconds, each on a connection of its own, all from one process on the "
        "same cores; SQLite. Resident memory of the web process, whose Ray runs beside it.",
        "A notification is the start of a training with everybody in it; the time is taken from "
        "sending the request that starts it, so it includes the transaction.",
    )


class _Waiting:
    """Participants who all ask again as soon as they are answered.

    Attributes:
        told: When each was told something since `forget`, by place.
    """

    def __init__(self, participants: Sequence[Participant]) -> None:
        self.told: dict[int, float] = {}
        self._all_told = asyncio.Event()
        self._number = len(participants)
        self._tasks = [asyncio.create_task(self._wait(each)) for each in participants]

    def forget(self) -> None:
        """Nobody was told anything yet."""
        self.told.clear()
        self._all_told.clear()

    async def until_all_told(self) -> list[float]:
        """When each was told, ascending."""
        await self._all_told.wait()
        return sorted(self.told.values())

    async def end(self) -> None:
        """Wait no longer. Raises what a participant's waiting ended with."""
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _wait(self, participant: Participant) -> None:
        while True:
            told_at = await participant.listen()
            if participant.heard:
                self.told.setdefault(participant.place, told_at)
            if len(self.told) == self._number:
                self._all_told.set()


async def _watched(
    server: Server, number: int, *, watched_seconds: float, repetitions: int
) -> list[Figure]:
    process = psutil.Process(server.process.pid)
    people = await register_all(server.port, "idler", number)
    registered = await register(server.port, "actor")
    actor = Connection(server.port, registered.token)
    model_id = await upload_model(actor, nn.Linear(4, 4))
    before_bytes = process.memory_info().rss
    waiting = _Waiting(people)
    await asyncio.sleep(SETTLED_SECONDS)
    spent_seconds = _cpu_seconds(process)
    await asyncio.sleep(watched_seconds)
    cpu_percent = 100 * (_cpu_seconds(process) - spent_seconds) / watched_seconds
    above_mib = (process.memory_info().rss - before_bytes) / _MIB
    tellings = [await _tell(actor, model_id, people, waiting) for _ in range(1 + repetitions)][1:]
    await waiting.end()
    for connection in (actor, *(each.connection for each in people)):
        await connection.close()
    return [
        figure(
            f"memory of {number} long polls above none",
            "MiB",
            Series((above_mib,)),
            at_most=MOST_MEMORY_MIB,
            participants=number,
        ),
        figure(
            f"memory before, with {number} users registered",
            "MiB",
            Series((before_bytes / _MIB,)),
        ),
        figure(
            f"CPU over {watched_seconds:.0f} s, of one core",
            "%",
            Series((cpu_percent,)),
            at_most=MOST_CPU_PERCENT,
            participants=number,
        ),
        *(
            figure(
                f"a notification at {who}",
                "s",
                Series(tuple(told[place] for told in tellings)),
                at_most=MOST_SECONDS if place == -1 else None,
                participants=number,
            )
            for who, place in (("the first", 0), ("half of them", number // 2), ("everybody", -1))
        ),
    ]


async def _tell(
    actor: Connection, model_id: str, people: Sequence[Participant], waiting: _Waiting
) -> list[float]:
    """Seconds until each heard that a training began, ascending."""
    training_id = await create_training(actor, model_id, [each.id for each in people], rounds=1)
    waiting.forget()
    started_at = time.perf_counter()
    await actor.ask("POST", f"/api/trainings/{training_id}/start/", status=202)
    return [told_at - started_at for told_at in await waiting.until_all_told()]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _allow_open_files() -> None:
    """Let this process have a connection per participant."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
