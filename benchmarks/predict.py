"""Predictions with uncertainty of the digits CNN over HTTP, beside the same passes in bare torch.

One input each, N = 10 passes for the stochastic methods. Ours pays for signing in, the database,
the way to the predictor and back, the summary and JSON; the bare loop for its forward passes alone.
"""

import io
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import msgspec
import torch
from torch import Tensor, nn

from benchmarks.measurement import REPETITIONS, Case, Series, alternate
from benchmarks.report import Figure, Report, figure, report
from benchmarks.request_load import Load, closed_load, json_post, open_load, per_second
from compute.blobs import open_blob_store
from compute.contract import Predict, UncertaintyMethod
from compute.predictor import Predictor
from examples.digits.network import digits_network, torchscript_archive
from tests.federations import People, Person, training_order, upload_model
from tests.model_files import pickled
from tests.servers import Server, short_temporary_folder

PASSES = 10
MEMBERS = 5
RATE = 200
CONNECTIONS = 32
AT_LEAST_OF_BARE = 0.5
BARE_PASSES_ALLOWED = 3
ALLOWANCE_SECONDS = 0.005
INPUT_SHAPE = ["None", "1", "8", "8"]


def measure(*, quick: bool) -> Report:
    """Start a server on SQLite, load it at a rate and as fast as it goes; in turns with torch."""
    repetitions, seconds = (2, 1.0) if quick else (REPETITIONS, 3.0)
    torch.set_num_threads(1)
    figures: list[Figure] = []
    with short_temporary_folder("bench") as folder:
        with _asked_server(folder) as (server, actor):
            for method in (UncertaintyMethod.MC_DROPOUT, UncertaintyMethod.NONE):
                request = json_post(
                    "/api/inference/",
                    actor.token,
                    {"model_id": _served(actor, method), "model_input": _image().tolist()},
                )
                figures += _over_http(method, server.port, request, repetitions, seconds)
            request = json_post(
                "/api/inference/",
                actor.token,
                {"model_id": _ensemble(actor), "model_input": _image().tolist()},
            )
            method = UncertaintyMethod.ENSEMBLE
            figures += _over_http(method, server.port, request, repetitions, seconds)
        figures += _swag_in_process(folder, repetitions, seconds)
    return report(
        "predict",
        "Predictions: the digits CNN, one input each, beside bare torch",
        figures,
        f"N = {PASSES} passes, an ensemble of {MEMBERS}; the bare loop makes the passes of one "
        "request as one batch (an ensemble's and SWAG's one by one) on 1 torch thread. It "
        "computes all layers in each pass with dropout, ours those before dropout once.",
        f"{RATE} requests/s are sent at even intervals, whatever was answered. The limit is "
        f"{BARE_PASSES_ALLOWED} bare passes + {ALLOWANCE_SECONDS * 1000:g} ms.",
        f"As fast as it goes: {CONNECTIONS} connections, each asks again when it was answered. "
        "Client, server, Ray and predictor share the cores; the bare loop has them to itself.",
        "The server embeds Ray without dashboard; SQLite; signed in by token; the model loaded.",
        "SWAG in process, without HTTP: its moments come with a training.",
    )


def _over_http(
    method: UncertaintyMethod, port: int, request: bytes, repetitions: int, seconds: float
) -> list[Figure]:
    closed_load(port, request, connections=4, seconds=1.0)
    steady: list[Load] = []
    bare = _bare(method)

    def at_rate() -> float:
        steady.append(_good(open_load(port, request, per_second=RATE, seconds=seconds)))
        return steady[-1].quantile(0.5)

    def at_full_load() -> float:
        load = closed_load(port, request, connections=CONNECTIONS, seconds=seconds)
        return _good(load).per_second

    cases: dict[str, Case] = {
        "rate": at_rate,
        "full": at_full_load,
        "pass": lambda: _seconds_of(bare),
        "bare": lambda: per_second(bare, seconds / 3),
    }
    found = alternate(cases, repetitions=repetitions)
    loads = steady[-repetitions:]
    limit = BARE_PASSES_ALLOWED * found["pass"].median + ALLOWANCE_SECONDS
    judged = method is UncertaintyMethod.MC_DROPOUT
    at = f"{method} at {RATE} requests/s"
    return [
        figure(
            f"{method}, as fast as it goes",
            "requests/s",
            found["full"],
            beside_name="bare torch loop",
            beside=found["bare"],
            ratio_name="of bare",
            ratio=found["full"].median / found["bare"].median,
            at_least=AT_LEAST_OF_BARE if judged else None,
        ),
        figure(
            f"{at}: answered",
            "requests/s",
            Series(tuple(load.per_second for load in loads)),
            ratio_name="of asked",
            ratio=statistics.median(load.per_second for load in loads) / RATE,
            at_least=0.99 if judged else None,
        ),
        figure(
            f"{at}: p50",
            "ms",
            _milliseconds(found["rate"]),
            beside_name="one bare pass",
            beside=_milliseconds(found["pass"]),
            ratio_name="of the limit",
            ratio=found["rate"].median / limit,
            at_most=1.0 if judged else None,
        ),
        figure(
            f"{at}: p99",
            "ms",
            Series(tuple(load.quantile(0.99) * 1000 for load in loads)),
        ),
    ]


def _swag_in_process(folder: Path, repetitions: int, seconds: float) -> list[Figure]:
    store = open_blob_store((folder / "blobs").as_uri())
    model = digits_network(0)
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()]).double()
    first, second = (pickled(moment) for moment in (flat, flat.square() + 1e-4))
    order = Predict(
        model_keys=[store.put([torchscript_archive(model)]).digest],
        values=msgspec.Raw(json.dumps(_image().tolist()).encode()),
        method=UncertaintyMethod.SWAG,
        samples=PASSES,
        moment_keys=(store.put([first]).digest, store.put([second]).digest),
    )
    predictor = Predictor(store, torch.device("cpu"))
    bare = _bare(UncertaintyMethod.SWAG)
    found = alternate(
        {
            "ours": lambda: per_second(lambda: predictor.predict(order), seconds / 3),
            "bare": lambda: per_second(bare, seconds / 3),
        },
        repetitions=repetitions,
    )
    return [
        figure(
            "SWAG in process",
            "requests/s",
            found["ours"],
            beside_name="bare passes, nothing drawn",
            beside=found["bare"],
            ratio_name="of bare",
            ratio=found["ours"].median / found["bare"].median,
        )
    ]


def _bare(method: UncertaintyMethod) -> Callable[[], None]:
    """The forward passes of one request."""
    network, image = _network(), _image()
    copies = image.repeat(PASSES, 1, 1, 1)

    def passes() -> None:
        with torch.no_grad():
            match method:
                case UncertaintyMethod.NONE:
                    network(image)
                case UncertaintyMethod.MC_DROPOUT:
                    network(copies)
                case UncertaintyMethod.ENSEMBLE:
                    for _ in range(MEMBERS):
                        network(image)
                case UncertaintyMethod.SWAG:
                    for _ in range(PASSES):
                        network(image)

    if method is UncertaintyMethod.MC_DROPOUT:
        for part in network.modules():
            part.training = getattr(part, "original_name", "") == "Dropout"
    return passes


def _network() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded: nn.Module = torch.jit.load(io.BytesIO(torchscript_archive(digits_network(0))))
    return loaded.eval()


def _image() -> Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@contextmanager
def _asked_server(folder: Path) -> Iterator[tuple[Server, Person]]:
    server = Server(folder / "server", environment={"STARLING_RAY_DASHBOARD": "false"})
    people = People(server)
    try:
        server.start_and_wait()
        yield server, people("actor", actor=True)
        people.close()
        server.stop()
    finally:
        server.kill_if_running()


def _served(actor: Person, method: UncertaintyMethod) -> str:
    """Id of a model that predicts with `method`."""
    return _in_training(actor, _uploaded(actor, seed=0), method)


def _ensemble(actor: Person) -> str:
    members = [_uploaded(actor, seed=seed) for seed in range(MEMBERS)]
    mean = {"type": "MEAN", "name": "Mean", "description": "a mean", "models": members}
    answer = actor.client.post("/api/models/", json=mean).raise_for_status()
    return _in_training(actor, str(answer.json()["model_id"]), UncertaintyMethod.ENSEMBLE)


def _uploaded(actor: Person, *, seed: int) -> str:
    archive = torchscript_archive(digits_network(seed))
    answer = upload_model(actor, archive, input_shape=INPUT_SHAPE).raise_for_status()
    return str(answer.json()["model_id"])


def _in_training(actor: Person, model_id: str, method: UncertaintyMethod) -> str:
    order = training_order(
        model_id,
        uncertainty_method=method,
        options={"uncertainty": {"N": PASSES, "softmax": True}},
    )
    actor.client.post("/api/trainings/", json=order).raise_for_status()
    return model_id


def _good(load: Load) -> Load:
    if load.failures:
        message = f"{load.failures} predictions failed"
        raise RuntimeError(message)
    return load


def _seconds_of(call: Callable[[], None]) -> float:
    """Median of a few hundred calls."""
    seconds = []
    for _ in range(300):
        started = perf_counter()
        call()
        seconds.append(perf_counter() - started)
    return statistics.median(seconds)


def _milliseconds(series: Series) -> Series:
    return Series(tuple(value * 1000 for value in series.values))
