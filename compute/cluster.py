"""A Ray cluster to work on: the one at a given address, or one of our own on this machine."""

import contextlib
import gc
import logging
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray._private import auto_init_hook, ray_constants
from ray._private import utils as ray_utils
from ray._private.node import Node
from ray.job_config import JobConfig

LOOPBACK = "127.0.0.1"
NAMESPACE = "starling"
# Tensors travel through the blob store and never through Ray's, which can thus be small.
OBJECT_STORE_BYTES = 128 * 1024**2
HEAD = "gcs_server"
_VITAL = {HEAD, "raylet"}
# A killed process is gone at once, but for what the kernel has to write.
KILLED_SECONDS = 5.0
PROBE_SECONDS = 2.0
_ANNOUNCERS = ("ray._private.authentication.authentication_token_setup", "ray._private.worker")


@dataclass(frozen=True)
class RayConfig:
    """How to reach or start Ray, and what it may use.

    Attributes:
        blob_url: The blob store, as its workers reach it; empty: they have no use for one.
        address: Of a running cluster; None starts one of our own on loopback.
        num_cpus: CPUs of our own cluster; None takes all.
        include_dashboard: Whether our own cluster has a dashboard (about 500 MiB of memory).
        dashboard_port: Preferred; another one is taken when it is busy.
        aggregators: How many trainings keep an aggregator to themselves between updates.
        gpus_per_aggregator: Share of a GPU that an aggregator takes where the cluster has any.
        check_timeout_seconds: An upload that takes longer to check is rejected.
        check_memory_bytes: An upload that takes more memory to check is rejected.
        predictors: Most processes that predict at the same time; they come when needed, and each
            keeps up to 2 GiB of models loaded.
        gpus_per_predictor: Share of a GPU that a predictor takes where the cluster has any.
        predict_timeout_seconds: A model that takes longer to answer is refused.
        predict_memory_bytes: A model that takes more memory to answer is refused.
        keep_ready: Whether a process to check, one to aggregate and one to predict load torch
            before somebody waits for them; about 1 GiB of memory.
    """

    blob_url: str = ""
    address: str | None = None
    num_cpus: int | None = None
    include_dashboard: bool = True
    dashboard_port: int = 8265
    aggregators: int = 8
    gpus_per_aggregator: float = 0.1
    check_timeout_seconds: float = 60.0
    check_memory_bytes: int = 8 * 1024**3
    predictors: int = 4
    gpus_per_predictor: float = 0.1
    predict_timeout_seconds: float = 30.0
    predict_memory_bytes: int = 8 * 1024**3
    keep_ready: bool = True

    @property
    def is_embedded(self) -> bool:
        """Whether the cluster is our own to start and stop."""
        return self.address is None


class NotStarted(RuntimeError):
    """Ray did not come up; nothing of what it had started is left."""


def start(config: RayConfig) -> None:
    """Connect to the cluster or start it; blocks for seconds.

    Must be called in a thread that lives as long as the cluster shall: the kernel ends the
    processes of an embedded Ray together with the thread that started them.

    Raises:
        NotStarted: there is no cluster at the address, or ours does not come up.
    """
    present = set(psutil.Process().children())
    try:
        _init(config)
    except Exception as error:  # Ray raises no narrower one when its node is late to come up
        ray.shutdown()
        # Of a node that is late Ray keeps no record, but its processes run on.
        _kill(set(psutil.Process().children()) - present)
        raise NotStarted(str(error) or type(error).__name__) from error


def _init(config: RayConfig) -> None:
    # Else a call after the cluster was lost would start another on its own, and wait for it.
    auto_init_hook.enable_auto_connect = False
    with _quiet(), _dashboard_libraries_taken_for_granted():
        if config.address is not None:
            ray.init(
                address=config.address,
                namespace=NAMESPACE,
                job_config=_job_config(),
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            return
        # Ray puts a node on the address of the default route even when told 127.0.0.1, and then
        # listens on every interface; single-node mode is what keeps it on loopback.
        ray_constants.ENABLE_RAY_CLUSTER = False
        ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=config.num_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            job_config=_job_config(),
            include_dashboard=config.include_dashboard,
            dashboard_host=LOOPBACK,
            dashboard_port=_free_port(config.dashboard_port),
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address=LOOPBACK,
        )


def stop() -> None:
    """Disconnect; a cluster of our own ends with all its processes."""
    started = _embedded_processes()
    # What the collector finds may be a handle, and dropping one now would end this process.
    collects = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collects:
            gc.enable()
    # Ray forgets its processes' own children, such as those of the dashboard.
    _, alive = psutil.wait_procs(started, timeout=0.5)
    _kill(alive)


def _kill(processes: Iterable[psutil.Process]) -> None:
    """End processes and their descendants, and collect those that are ours."""
    ended = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in (process, *process.children(recursive=True)):
                each.kill()
                ended.append(each)
    psutil.wait_procs(ended, timeout=KILLED_SECONDS)


def _embedded_processes() -> list[psutil.Process]:
    """Every process of our own cluster, children of children too; none for a cluster elsewhere."""
    node = _node()
    if node is None:
        return []
    processes: list[psutil.Process] = []
    for group in node.all_processes.values():
        for started in group:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(started.process.pid)
                processes += [process, *process.children(recursive=True)]
    return processes


def is_alive(config: RayConfig) -> bool:
    """Whether the cluster's heart beats; takes at most `PROBE_SECONDS` and asks Ray nothing.

    A request to a head that is gone must be avoided: Ray ends the whole process that waits for one
    for a minute.
    """
    if config.is_embedded:
        node = _node()
        dead = {kind for kind, _ in node.dead_processes()} if node else _VITAL
        return not dead & _VITAL
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def dead_heads() -> set[int]:
    """Process ids of heads that this process started and that died, as far as it was not told.

    Ray's own record of a head is not there before all of the cluster has started.
    """
    dead = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == HEAD and child.status() == psutil.STATUS_ZOMBIE:
                dead.add(child.pid)
    return dead


def dashboard_url() -> str | None:
    """Where the dashboard is, if there is one."""
    if not ray.is_initialized():
        return None
    address: str | None = ray._private.worker.get_dashboard_url()  # noqa: SLF001
    return f"http://{address}/" if address else None


def dashboard_token() -> str | None:
    """The token that the dashboard asks for; None where it asks for none."""
    # Ray's own reader of it, compiled and without types.
    loader = vars(ray._raylet)["AuthenticationTokenLoader"].instance()  # noqa: SLF001
    headers: dict[str, str] = loader.get_token_for_http_header()
    return headers.get("authorization", "").removeprefix("Bearer ") or None


def _node() -> Node | None:
    """Ray's record of the processes it started; there is no public way to it."""
    node: Node | None = vars(ray._private.worker)["_global_node"]  # noqa: SLF001
    return node


def _job_config() -> JobConfig:
    """Lets workers import this package wherever we are run from."""
    config = JobConfig()
    config._py_driver_sys_path.append(str(Path(__file__).parent.parent))  # noqa: SLF001
    return config


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            # As a server binds: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            bound: int = probe.getsockname()[1]
            return bound
    message = "No TCP port is free on loopback."
    raise ConnectionError(message)


@contextlib.contextmanager
def _dashboard_libraries_taken_for_granted() -> Iterator[None]:
    """Keep Ray from importing what its dashboard needs into this process, only to see it is there.

    That is aiohttp, gRPC, pydantic and OpenTelemetry, of no use here: 25 MiB and half a second.
    `ray[default]`, which we depend on, declares them all; the dashboard is a process of its own.
    """
    name = "get_dashboard_dependency_error"
    functions = vars(ray_utils)
    original = functions[name]
    functions[name] = lambda: None
    try:
        yield
    finally:
        functions[name] = original


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from announcing token authentication and that threads have no SIGTERM handler."""
    loggers = [logging.getLogger(name) for name in _ANNOUNCERS]
    levels = [announcer.level for announcer in loggers]
    for announcer in loggers:
        announcer.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for announcer, level in zip(loggers, levels, strict=True):
            announcer.setLevel(level)
