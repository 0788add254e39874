"""What aggregating a stored round takes in memory, in a process of its own. Linux only.

    python -m benchmarks.aggregation_memory ORDER

The process aggregates the round once to have everything loaded, then again while its parent looks.
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import torch

from benchmarks.stored_rounds import StoredRound
from compute.contract import FinishRound, RoundAggregated

LOOK_EVERY_SECONDS = 0.001


class Order(msgspec.Struct, frozen=True):
    """What the process shall aggregate."""

    folder: str
    order: FinishRound
    parameters: int
    strategy: str


class Memory(msgspec.Struct, frozen=True):
    """In bytes.

    Attributes:
        before: Anonymous memory of the process before the round: interpreter, torch.
        anonymous: The greatest anonymous memory that was seen, that one included.
        resident: The greatest resident memory by the kernel's own count (VmHWM); pages of mapped
            blobs are in it, which the kernel can drop at any time.
    """

    before: int
    anonymous: int
    resident: int


def peak_memory(round: StoredRound, strategy: str) -> Memory:
    """Of a process that aggregates the round."""
    order = Order(str(round.folder), round.order, round.parameters, strategy)
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", __name__, msgspec.json.encode(order).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("The process has no pipes.")
        status = Path(f"/proc/{process.pid}/status")
        process.stdout.readline()  # it is ready
        before = anonymous = _status_bytes(status, "RssAnon")
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
        process.stdin.write("go\n")
        process.stdin.flush()
        while process.poll() is None:
            try:
                anonymous = max(anonymous, _status_bytes(status, "RssAnon"))
            except LookupError:  # it is ending
                break
            time.sleep(LOOK_EVERY_SECONDS)
        resident = int(process.stdout.readline())
    return Memory(before, anonymous, resident)


def main() -> None:
    """Be the process that is looked at."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    round = StoredRound(Path(order.folder), order.order, order.parameters)
    # Not with the round itself, whose memory the allocator might keep: with its first update.
    for _ in range(3):
        _aggregate(round.first(1), order.strategy)
    _say("ready")
    sys.stdin.readline()
    _aggregate(round, order.strategy)
    _say(_status_bytes(Path("/proc/self/status"), "VmHWM"))


def _aggregate(round: StoredRound, strategy: str) -> None:
    aggregator = round.aggregator(torch.device("cpu"), strategy=strategy)
    for update in round.order.updates:
        aggregator.fold(round.order.round, round.order.base_key, update)
    outcome = aggregator.finish_round(round.order)
    if not isinstance(outcome, RoundAggregated):
        raise TypeError(outcome.reason)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _status_bytes(status: Path, field: str) -> int:
    for line in status.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"The kernel does not tell {field}")


if __name__ == "__main__":
    main()
