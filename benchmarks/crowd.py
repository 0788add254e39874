"""Participants of one training, all in this process, who deliver as soon as they are asked."""

import asyncio
import io
import secrets
import time
from dataclasses import dataclass, field
from typing import Self

import msgspec
import safetensors.torch
import torch
from torch import nn

from benchmarks.wire import Body, Connection

BOUNDARY = "benchmark-4f1d"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
REGISTRATIONS_AT_ONCE = 8
WAIT_SECONDS = 60
# Width and number of square layers, by about how many parameters they have.
WIDTHS = {
    120_000: (346, 1),
    1_200_000: (1095, 1),
    5_000_000: (2236, 1),
    25_000_000: (2236, 5),
}


class _Registered(msgspec.Struct):
    id: str
    token: str


class _Notification(msgspec.Struct):
    id: int
    notification_type: str


class _Created(msgspec.Struct):
    model_id: str = ""
    training_id: str = ""


def network(parameters: int) -> nn.Sequential:
    """A network of about so many parameters."""
    width, layers = WIDTHS[parameters]
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))


@dataclass
class Participant:
    """One of the crowd, and what it was told last."""

    id: str
    place: int
    connection: Connection
    last_id: int = 0
    heard: list[str] = field(default_factory=list)

    async def listen(self) -> float:
        """When a long poll was answered; what with is in `heard`, and is nothing after a minute."""
        answer = await self.connection.ask(
            "GET", f"/api/users/myself/notifications/?after={self.last_id}&wait={WAIT_SECONDS}"
        )
        told_at = time.perf_counter()
        items = answer.read(list[_Notification])
        self.last_id = items[-1].id if items else self.last_id
        self.heard = [item.notification_type for item in items]
        return told_at


@dataclass(frozen=True)
class Turnaround:
    """Of one round, from the last participant's 201.

    Attributes:
        first_seconds: Until somebody had the notification of the next round.
        last_participant_seconds: Until the participant whose 201 was last had it.
        all_seconds: Until everybody had it.
    """

    first_seconds: float
    last_participant_seconds: float
    all_seconds: float


class Crowd:
    """A running training in pull mode whose participants wait for `deliver`."""

    def __init__(self, participants: list[Participant], actor: Connection, update: bytes) -> None:
        self._participants = participants
        self._actor = actor
        # Both ends of an update's file; the number between them makes the bytes distinct.
        self._update = memoryview(update)
        self._round = 0
        self._model_id = ""

    @classmethod
    async def gather(cls, port: int, participants: int, parameters: int, *, rounds: int) -> Self:
        """Register so many, and start a training of so many rounds."""
        module = network(parameters)
        # A crowd of the same size may have been there before.
        name = f"crowd-{secrets.token_hex(4)}"
        people = await register_all(port, name, participants)
        actor = await register(port, f"{name}-actor")
        crowd = cls(
            people,
            Connection(port, actor.token),
            safetensors.torch.save(module.state_dict()),
        )
        await crowd._start(module, rounds)
        return crowd

    async def deliver(self, at_once: int) -> Turnaround:
        """Everybody sends an update, so many at once, and waits for the next round."""
        uploads = asyncio.Semaphore(at_once)
        ends = await asyncio.gather(
            *(self._take_part(each, uploads) for each in self._participants)
        )
        self._round += 1
        accepted_at, last_told_at = max(ends)
        told_at = [told for _, told in ends]
        return Turnaround(
            first_seconds=min(told_at) - accepted_at,
            last_participant_seconds=last_told_at - accepted_at,
            all_seconds=max(told_at) - accepted_at,
        )

    async def leave(self) -> None:
        """Close all connections."""
        for connection in (self._actor, *(each.connection for each in self._participants)):
            await connection.close()

    async def _start(self, module: nn.Module, rounds: int) -> None:
        self._model_id = await upload_model(self._actor, module)
        training_id = await create_training(
            self._actor, self._model_id, [each.id for each in self._participants], rounds=rounds
        )
        await self._actor.ask("POST", f"/api/trainings/{training_id}/start/", status=202)
        await asyncio.gather(*(self._hear_of_round(each) for each in self._participants))

    async def _take_part(
        self, participant: Participant, uploads: asyncio.Semaphore
    ) -> tuple[float, float]:
        """When its update was accepted, and when it was told of the next round."""
        number = torch.tensor([self._round, participant.place], dtype=torch.float16)
        changed = number.view(torch.uint8).numpy().tobytes()
        body = multipart(
            {"round": str(self._round), "sample_size": str(participant.place + 1)},
            "model_file",
            [self._update[: -len(changed)], changed],
        )
        async with uploads:
            await participant.connection.ask(
                "POST", f"/api/models/{self._model_id}/", body, status=201, content_type=FORM
            )
        accepted_at = time.perf_counter()
        return accepted_at, await self._hear_of_round(participant)

    async def _hear_of_round(self, participant: Participant) -> float:
        while True:
            told_at = await participant.listen()
            if "UPDATE_ROUND_START" in participant.heard:
                return told_at


async def upload_model(actor: Connection, module: nn.Module) -> str:
    """Id of the module as a global model of the actor's."""
    file = io.BytesIO()
    torch.save(module, file)
    fields = {"name": "benchmark", "description": "a network", "type": "GLOBAL"}
    body = multipart(fields, "model_file", [file.getbuffer()])
    uploaded = await actor.ask("POST", "/api/models/", body, status=201, content_type=FORM)
    return uploaded.read(_Created).model_id


async def create_training(
    actor: Connection, model_id: str, participants: list[str], *, rounds: int
) -> str:
    """Id of a training of the model, without tests."""
    order = {
        "model_id": model_id,
        "target_num_updates": rounds,
        "metric_names": [],
        "aggregation_method": "FedAvg",
        "options": {"skip_model_tests": True},
        "clients": participants,
    }
    body = [msgspec.json.encode(order)]
    created = await actor.ask("POST", "/api/trainings/", body, status=201)
    return created.read(_Created).training_id


async def register(port: int, name: str) -> _Registered:
    """A new user."""
    order = msgspec.json.encode({"username": name, "password": "not used at all"})
    connection = Connection(port)
    answer = await connection.ask("POST", "/api/users/", [order], status=201)
    await connection.close()
    return answer.read(_Registered)


async def register_all(port: int, name: str, number: int) -> list[Participant]:
    """So many new users, each with a connection."""
    registrations = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)

    async def join(place: int) -> Participant:
        async with registrations:
            registered = await register(port, f"{name}-{place}")
        return Participant(registered.id, place, Connection(port, registered.token))

    return await asyncio.gather(*(join(place) for place in range(number)))


def multipart(fields: dict[str, str], file_field: str, content: Body) -> list[bytes | memoryview]:
    """A form with one file; its parts in order."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{file_field}"; '
        f'filename="{file_field}"\r\n\r\n'
    )
    return [head.encode(), *content, f"\r\n--{BOUNDARY}--\r\n".encode()]
