"""What the demo asks of the server's REST API, as the actor of one training."""

import asyncio
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from examples.digits.children import DemoFailed
from examples.digits.messages import Score

POLL_SECONDS = 0.2
READY_WITHIN_SECONDS = 90.0

T = TypeVar("T")


class Account(msgspec.Struct, frozen=True):
    """A user just created: the token is told this once."""

    id: str
    username: str
    token: str


class TrainingState(msgspec.Struct, frozen=True):
    """The fields of a training that the demo shows."""

    state: str
    local_models_arrived: int
    local_models_expected: int
    error: str | None = None


class ModelRow(msgspec.Struct, frozen=True):
    """One model of a training: the global one, or (with a base model) somebody's update."""

    id: str
    round: int
    owner: str
    base_model: str | None = None


class MetricRow(msgspec.Struct, frozen=True):
    """One reported figure."""

    key: str
    step: int
    reporter: str | None = None
    value_float: float | str | None = None


class ModelCreated(msgspec.Struct, frozen=True):
    model_id: str


class TrainingCreated(msgspec.Struct, frozen=True):
    training_id: str


class Actor:
    """A thin client: one method per request, typed answers, errors as `DemoFailed`."""

    def __init__(self, server: str) -> None:
        self._http = httpx.AsyncClient(base_url=server, timeout=60)

    async def close(self) -> None:
        await self._http.aclose()

    async def wait_until_ready(self) -> None:
        """Return when the server's database, blob store and Ray cluster work.

        Raises:
            DemoFailed: They did not in time; says what the server named last.
        """
        last = "it does not answer"
        deadline = asyncio.get_running_loop().time() + READY_WITHIN_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            try:
                answer = await self._http.get("/health/ready")
            except httpx.TransportError:
                pass  # not listening yet
            else:
                if answer.status_code == httpx.codes.OK:
                    return
                last = answer.text
            await asyncio.sleep(POLL_SECONDS)
        raise DemoFailed(f"The server was not ready in {READY_WITHIN_SECONDS:.0f} s: {last}")

    async def register(
        self, username: str, password: str, *, actor: bool = False, endpoint: str = ""
    ) -> Account:
        """Create a user; `endpoint` is where a participant takes webhooks."""
        body: dict[str, object] = {"username": username, "password": password}
        body |= {"actor": True} if actor else {"client": True, "message_endpoint": endpoint}
        return await self._ask("POST", "/api/users/", Account, json=body)

    def sign_in(self, account: Account) -> None:
        self._http.headers["Authorization"] = f"Token {account.token}"

    async def upload_model(
        self, name: str, archive: Path, input_shape: tuple[int | None, ...]
    ) -> str:
        created = await self._ask(
            "POST",
            "/api/models/",
            ModelCreated,
            data={
                "name": name,
                "description": "CNN with dropout for 8 x 8 images of digits (starling demo)",
                "input_shape": [str(size) for size in input_shape],
            },
            files={"model_file": ("model.pt", archive.read_bytes(), "application/octet-stream")},
        )
        return created.model_id

    async def create_training(self, model_id: str, clients: list[str], *, rounds: int) -> str:
        created = await self._ask(
            "POST",
            "/api/trainings/",
            TrainingCreated,
            json={
                "model_id": model_id,
                "target_num_updates": rounds,
                "metric_names": ["loss", "accuracy"],
                "aggregation_method": "FedAvg",
                "clients": clients,
            },
        )
        return created.training_id

    async def start_training(self, training_id: str) -> None:
        await self._request("POST", f"/api/trainings/{training_id}/start/")

    async def training(self, training_id: str) -> TrainingState:
        return await self._ask("GET", f"/api/trainings/{training_id}/", TrainingState)

    async def training_models(self, training_id: str) -> list[ModelRow]:
        """The global model, then the updates that the server holds."""
        return await self._ask("GET", f"/api/trainings/{training_id}/models/", list[ModelRow])

    async def scores(self, model_id: str) -> dict[int, list[Score]]:
        """What participants reported of the global model on test rounds, by round."""
        rows = await self._ask("GET", f"/api/models/{model_id}/metrics/", list[MetricRow])
        figures: dict[tuple[int, str | None], dict[str, float]] = {}
        for row in rows:
            if row.key in {"loss", "accuracy"} and row.value_float is not None:
                of_reporter = figures.setdefault((row.step, row.reporter), {})
                of_reporter[row.key] = float(row.value_float)
        scores: dict[int, list[Score]] = {}
        for (step, _), reported in sorted(figures.items(), key=lambda item: item[0][0]):
            if reported.keys() == {"loss", "accuracy"}:
                scores.setdefault(step, []).append(Score(**reported))
        return scores

    async def download_model(self, model_id: str) -> bytes:
        return (await self._request("GET", f"/api/models/{model_id}/")).content

    async def _ask(self, method: str, path: str, answer: type[T], **content: object) -> T:
        return msgspec.json.decode(
            (await self._request(method, path, **content)).content, type=answer
        )

    async def _request(self, method: str, path: str, **content: object) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **content)  # type: ignore[arg-type]
        except httpx.TransportError as error:
            raise DemoFailed(f"{method} {path}: the server cannot be reached: {error}") from error
        if answer.is_error:
            raise DemoFailed(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer
