"""Looks at uploads inside a compute worker: the checks behind the gateway's `check_…` calls."""

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import torch

from compute.actors import CheckLimits, CheckOrder, CheckReport
from compute.blobs import BlobStore, is_digest
from compute.contract import (
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
    MakeDummyModel,
    MakeMean,
    Rejected,
    RejectionReason,
    UpdateReport,
    WriteStateDict,
)
from compute.dummy_model import make_dummy_model
from compute.formats import inspect_model, inspect_preprocessing, load_state_dict, load_update
from compute.mean_model import make_mean
from compute.moments import check_moments
from compute.state_dict_files import write_state_dict
from compute.state_dicts import StateDict, require_compatible

MAX_SHAPES = 64

_shapes: dict[str, StateDict] = {}


def check(store: BlobStore, order: CheckOrder) -> CheckReport:
    """What the upload is.

    Raises:
        Rejected: it is not what it should be.
        BlobError: the upload or its base is not there, or cannot be read now.
    """
    if isinstance(order, MakeMean):
        return make_mean(store, order)
    if isinstance(order, MakeDummyModel):
        return make_dummy_model(store)
    if isinstance(order, WriteStateDict):
        return write_state_dict(store, order)
    if isinstance(order, CheckMoments):
        check_moments(store, order)
        return None
    with store.local_path(order.key) as path:
        match order:
            case CheckModel():
                return inspect_model(path, order.input_shape)
            case CheckPreprocessing():
                inspect_preprocessing(path)
                return None
            case CheckUpdate():
                container, update = load_update(path)
                require_compatible(update, _shape_of(store, order.base_key))
                return UpdateReport(format=container, num_tensors=len(update))


def _shape_of(store: BlobStore, base_key: str) -> StateDict:
    """The base's tensors without their values.

    Every update of a round is held against the same base, and a digest always stands for the same
    bytes: a worker reads it once.
    """
    shape = _shapes.pop(base_key, None)
    if shape is None:
        with store.local_path(base_key) as path:
            shape = {
                name: torch.empty_like(tensor, device="meta")
                for name, tensor in load_state_dict(path).items()
            }
    if is_digest(base_key):
        while len(_shapes) >= MAX_SHAPES:
            del _shapes[next(iter(_shapes))]
        _shapes[base_key] = shape  # used most recently last
    return shape


@contextlib.contextmanager
def limited(limits: CheckLimits) -> Iterator[None]:
    """Bound what this process takes: its address space beyond now, and the time on the clock.

    At the time limit the kernel ends the process, whatever it is doing: compiled code does not come
    back to Python to be interrupted.

    Raises:
        Rejected: the memory limit was hit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if limits.memory_bytes is not None:
        wanted = _address_space_bytes() + limits.memory_bytes
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    try:
        yield
    except MemoryError as error:
        raise Rejected(
            RejectionReason.TOO_LARGE,
            f"This takes more than {(limits.memory_bytes or 0) // 1024**2} MiB of memory.",
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
