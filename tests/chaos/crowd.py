"""A training in pull mode with a crowd of participants, all of whom live in this process.

Nothing is killed: it shows that a server bears so many who wait, download and upload at once.
"""

import asyncio
import functools
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.chaos.chaos_server import ChaosServer
from tests.chaos.invariants import violations
from tests.chaos.journal import Accepted, Journal, Told
from tests.chaos.lessons import Lessons, Weights, first_difference, read_model, update_file
from tests.chaos.participants import FORM, TRY_AGAIN, WentWrongError, multipart
from tests.chaos.truth import Truth

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
DEADLINE_SECONDS = 900.0
REQUEST_TIMEOUT_SECONDS = 300.0
REGISTRATIONS_AT_ONCE = 16
WAIT_SECONDS = 50
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Findings:
    """How it went.

    Attributes:
        register_seconds: For all users, over the API.
        before_bytes: Resident memory of the web process with nobody waiting.
        idle_bytes: With everybody waiting for a notification.
        idle_cpu: Share of a core that the web process took meanwhile.
        training_seconds: From the start until everybody heard of the end.
        upload_seconds: Of each accepted update, from the first attempt to the 201, ascending.
        peak_bytes: Resident memory of the web process, the most it ever had.
    """

    participants: int
    rounds: int
    register_seconds: float
    before_bytes: int
    idle_bytes: int
    idle_cpu: float
    training_seconds: float
    upload_seconds: list[float]
    peak_bytes: int
    wrong: list[str]


def gather(
    server: ChaosServer, participants: int, rounds: int, *, idle_seconds: float = 10.0
) -> Findings:
    """Take a training with so many participants to its end on a ready server.

    Args:
        idle_seconds: How long everybody waits before the start, to see what that costs.
    """
    return asyncio.run(_Crowd(server, participants, rounds).train(idle_seconds))


class _Crowd:
    def __init__(self, server: ChaosServer, participants: int, rounds: int) -> None:
        self._server = server
        self._rounds = rounds
        # Sizes of 1 and 2 that sum to a power of two.
        total = 1 << (participants - 1).bit_length()
        sizes = [1 + (place < total - participants) for place in range(participants)]
        self._lessons = Lessons(seed=0, sample_sizes=sizes, width=4)
        self._course = self._lessons.course(rounds)
        self._journal = Journal()
        self._deadline = time.monotonic() + DEADLINE_SECONDS
        self._upload_seconds: list[float] = []
        self._registrations = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)

    async def train(self, idle_seconds: float) -> Findings:
        """Register, wait, train, look."""
        web_process = psutil.Process(self._server.process.pid)
        began = time.monotonic()
        _, actor = await self._register("actor")
        people = await asyncio.gather(
            *(self._register(f"c{place}") for place in range(len(self._lessons.sample_sizes)))
        )
        registered = time.monotonic()
        model_id, training_id = await self._prepare(actor, [user_id for user_id, _ in people])
        before_bytes = web_process.memory_info().rss
        tasks = [
            asyncio.create_task(self._take_part(client, place, model_id))
            for place, (_, client) in enumerate(people)
        ]
        idle_bytes, idle_cpu = await _idle(web_process, idle_seconds)
        started = time.monotonic()
        await self._insist("start", 202, lambda: actor.post(f"/api/trainings/{training_id}/start/"))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        finished = time.monotonic()
        self._journal.wrong += [
            repr(error)
            for error in ended
            if isinstance(error, BaseException) and not isinstance(error, WentWrongError)
        ]
        await self._look(actor, model_id, training_id)
        for client in (actor, *(client for _, client in people)):
            await client.aclose()
        return Findings(
            participants=len(people),
            rounds=self._rounds,
            register_seconds=registered - began,
            before_bytes=before_bytes,
            idle_bytes=idle_bytes,
            idle_cpu=idle_cpu,
            training_seconds=finished - started,
            upload_seconds=sorted(self._upload_seconds),
            peak_bytes=_peak_bytes(web_process),
            wrong=self._journal.wrong,
        )

    async def _register(self, name: str) -> tuple[str, httpx.AsyncClient]:
        """Id of a new user, and a client that speaks for them."""
        client = httpx.AsyncClient(
            base_url=self._server.url, verify=_NO_TLS, timeout=REQUEST_TIMEOUT_SECONDS
        )
        order = {"username": name, "password": "not used at all"}
        async with self._registrations:
            answer = await self._insist(
                "registration", 201, lambda: client.post("/api/users/", json=order)
            )
        created = answer.json()
        client.headers["Authorization"] = f"Token {created['token']}"
        return created["id"], client

    async def _prepare(self, actor: httpx.AsyncClient, participants: list[str]) -> tuple[str, str]:
        """Ids of a model and of a training that waits for its start."""
        fields = {"name": "Crowd", "description": "a tiny model", "type": "GLOBAL"}
        body = multipart(fields, {"model_file": self._lessons.model_file()})
        uploaded = await self._insist(
            "model", 201, lambda: actor.post("/api/models/", content=body, headers=FORM)
        )
        model_id = uploaded.json()["model_id"]
        order = {
            "model_id": model_id,
            "target_num_updates": self._rounds,
            "metric_names": ["accuracy"],
            "aggregation_method": "FedAvg",
            "clients": participants,
        }
        created = await self._insist(
            "training", 201, lambda: actor.post("/api/trainings/", json=order)
        )
        return model_id, created.json()["training_id"]

    async def _take_part(self, client: httpx.AsyncClient, place: int, model_id: str) -> None:
        last = 0
        while True:
            feed = f"/api/users/myself/notifications/?after={last}&wait={WAIT_SECONDS}"
            answer = await self._insist("feed", 200, functools.partial(client.get, feed))
            for item in answer.json():
                told = Told(item["id"], item["notification_type"], item["body"].get("round"))
                last = told.id
                self._journal.told[place].append(told)
                match told.type, told.round:
                    case "TRAINING_FINISHED", _:
                        return
                    case "UPDATE_ROUND_START", int(round):
                        await self._update(client, place, model_id, round)
                    case "MODEL_TEST_ROUND", int(round):
                        await self._report(client, place, model_id, round - 1)

    async def _update(
        self, client: httpx.AsyncClient, place: int, model_id: str, round: int
    ) -> None:
        path = f"/api/models/{model_id}/"
        answer = await self._insist("download", 200, lambda: client.get(path))
        base = self._checked(answer.content, round)
        content = update_file(self._lessons.trained(base, round, place))
        size = self._lessons.sample_sizes[place]
        body = multipart({"round": round, "sample_size": size}, {"model_file": content})
        began = time.monotonic()
        await self._insist("upload", 201, lambda: client.post(path, content=body, headers=FORM))
        self._upload_seconds.append(time.monotonic() - began)
        accepted = Accepted((hashlib.sha256(content).hexdigest(),), size)
        self._journal.keep(self._journal.updates, round, place, accepted)

    async def _report(
        self, client: httpx.AsyncClient, place: int, model_id: str, round: int
    ) -> None:
        value = place / len(self._lessons.sample_sizes)
        form = {"metric_names": "accuracy", "metric_values": str(value)}
        await self._insist(
            "report", 201, lambda: client.post(f"/api/models/{model_id}/metrics/", data=form)
        )
        self._journal.reports[round, place] = value

    def _checked(self, content: bytes, round: int) -> Weights:
        model = read_model(content)
        if (difference := first_difference(model, self._course[round])) is not None:
            self._journal.complain("crowd", f"model of round {round}: {difference}")
            raise WentWrongError
        return model

    async def _insist(
        self, what: str, status: int, ask: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        """The answer of `status`; asks again when the server is not well, until the deadline."""
        last = "nothing"
        while time.monotonic() < self._deadline:
            try:
                answer = await ask()
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if answer.status_code == status:
                    return answer
                last = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in TRY_AGAIN:
                    break
            await asyncio.sleep(PAUSE_SECONDS)
        self._journal.complain("crowd", f"{what}: {last} instead of {status}")
        raise WentWrongError

    async def _look(self, actor: httpx.AsyncClient, model_id: str, training_id: str) -> None:
        if self._journal.wrong:
            return
        answer = await self._insist(
            "final model", 200, lambda: actor.get(f"/api/models/{model_id}/")
        )
        self._checked(answer.content, self._rounds)
        truth = Truth(self._server.data_dir, self._server.database_url)
        snapshot = await asyncio.to_thread(truth.snapshot, training_id)
        self._journal.wrong += violations(snapshot, self._journal, rounds=self._rounds, swag=False)


async def _idle(web_process: psutil.Process, seconds: float) -> tuple[int, float]:
    """Resident memory and share of a core of a server on which everybody waits."""
    await asyncio.sleep(seconds / 2)  # until all have asked
    before = web_process.cpu_times()
    await asyncio.sleep(seconds)
    after = web_process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return web_process.memory_info().rss, spent / seconds


def _peak_bytes(process: psutil.Process) -> int:
    """The most memory that the process ever had resident, as the kernel says."""
    with Path(f"/proc/{process.pid}/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise ValueError("the kernel does not say")
