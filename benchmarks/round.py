"""A whole round over loopback, beside Flower and NVFlare, and what it sends.

Participants are processes that return the model slightly changed. A round lasts from its start to
that of the next: ours as a participant is told, the peers' as the code that drives them begins one.
The first round of a run counts for nobody. Run ours, each peer, and ours again, so that what
disturbs the machine does not favour one.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks import peers
from benchmarks.limits import loopback_seconds
from benchmarks.measurement import Series, alternate
from benchmarks.peer_scripts.layers import first_model
from benchmarks.peer_scripts.marks import steady_rounds
from benchmarks.report import Figure, Report, figure, report
from tests.federations import People, accepted_model, training_order
from tests.model_files import torchscript
from tests.servers import REPOSITORY, Server

OUR_ROUNDS = 6
BYTES_TARGET = 1.05
TIMEOUT_SECONDS = 280
# Thirty of a peer's participants, each of several processes, are more than two cores can bear.
MOST_PARTICIPANTS_OF_PEERS = 10


@dataclass(frozen=True)
class Setting:
    """So many participants with a model of so many float32 numbers."""

    participants: int
    parameters: int

    @property
    def name(self) -> str:
        return f"{self.participants} × {self.parameters / 1e6:g} M"

    @property
    def ideal_bytes(self) -> int:
        """The model once to each participant, and once from each."""
        return 2 * self.participants * 4 * self.parameters


@dataclass(frozen=True)
class Peer:
    """A peer with its target: how many times as fast a round of ours has to be."""

    name: peers.Peer
    title: str
    rounds: int
    target: float


class Rounds(msgspec.Struct):
    """Of each round of a run but the first."""

    seconds: list[float]
    bytes: list[float]

    def and_then(self, later: "Rounds") -> "Rounds":
        """The rounds of two runs."""
        return Rounds(self.seconds + later.seconds, self.bytes + later.bytes)


FLOWER = Peer("flower", "Flower: SuperLink and SuperNodes", rounds=3, target=15)
NVFLARE = Peer("nvflare", "NVFlare: POC mode", rounds=4, target=3)
SETTINGS = (
    Setting(2, 1_200_000),
    Setting(10, 1_200_000),
    Setting(30, 1_200_000),
    Setting(2, 25_000_000),
)


class Layers(nn.Module):
    """Holds these tensors and does nothing."""

    def __init__(self, layers: Mapping[str, npt.NDArray[np.float32]]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(torch.from_numpy(layer)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What it was given."""
        return inputs


def measure(*, quick: bool) -> Report:
    """Answer the question, in more than ten minutes; `quick`: two participants, Flower."""
    figures: list[Figure] = []
    if quick:
        figures += measure_setting(SETTINGS[0], [replace(FLOWER, rounds=2)], again=False)
    else:
        for setting in SETTINGS:
            figures += measure_setting(setting, [FLOWER, NVFLARE])
    return report(
        "round",
        "Whole rounds over loopback",
        figures,
        f"Peers: {peers.requirements('flower')}; {peers.requirements('nvflare')}.",
        f"With more than {MOST_PARTICIPANTS_OF_PEERS} participants the peers are left out.",
        "Bytes are those of the interface lo, with headers and everybody's own chatter.",
    )


def measure_setting(
    setting: Setting, beside: Sequence[Peer], *, again: bool = True
) -> list[Figure]:
    """Rows of one setting: beside each peer and the machine's limit, and the bytes.

    Args:
        again: Run ours once more after the peers, and once with forms.
    """
    ours = our_rounds(setting, native=True)
    theirs = {}
    if setting.participants <= MOST_PARTICIPANTS_OF_PEERS:
        theirs = {peer: peer_rounds(peer, setting) for peer in beside}
    forms = None
    if again:
        ours = ours.and_then(our_rounds(setting, native=True))
        forms = our_rounds(setting, native=False)
    limit = alternate({"loopback": lambda: loopback_seconds(setting.ideal_bytes)})["loopback"]
    rows = [
        _timed(setting, ours, peer.title, rounds, peer.target) for peer, rounds in theirs.items()
    ]
    if forms:
        rows.append(_timed(setting, ours, "ours with forms of TorchScript", forms))
    raw = Rounds(list(limit.values), [])
    rows.append(_timed(setting, ours, "the same bytes over a raw socket", raw))
    rows.append(_counted(setting, "", ours, at_most=BYTES_TARGET))
    if forms:
        rows.append(_counted(setting, ", forms of TorchScript", forms, at_most=BYTES_TARGET))
    rows += [_counted(setting, f", {peer.title}", rounds) for peer, rounds in theirs.items()]
    return rows


def _timed(
    setting: Setting, ours: Rounds, name: str, beside: Rounds, target: float | None = None
) -> Figure:
    our_seconds, their_seconds = Series(tuple(ours.seconds)), Series(tuple(beside.seconds))
    return figure(
        f"round, {setting.name}",
        "s",
        our_seconds,
        beside_name=name,
        beside=their_seconds,
        ratio_name="times as fast",
        ratio=their_seconds.median / our_seconds.median,
        at_least=target,
        participants=setting.participants,
        parameters=setting.parameters,
    )


def _counted(
    setting: Setting, whose: str, rounds: Rounds, *, at_most: float | None = None
) -> Figure:
    return figure(
        f"bytes over loopback as a multiple of the ideal, {setting.name}{whose}",
        "×",
        Series(tuple(count / setting.ideal_bytes for count in rounds.bytes)),
        at_most=at_most,
        participants=setting.participants,
        parameters=setting.parameters,
    )


def peer_rounds(peer: Peer, setting: Setting) -> Rounds:
    """Rounds of a whole peer, which is started and ended for them."""
    options = {
        "participants": setting.participants,
        "parameters": setting.parameters,
        "rounds": peer.rounds,
        "timeout": TIMEOUT_SECONDS,
    }
    script = f"{peer.name}_round.py"
    answer = peers.last_line(peer.name, script, options, timeout_seconds=TIMEOUT_SECONDS + 60)
    return msgspec.json.decode(answer, type=Rounds)


def our_rounds(setting: Setting, *, native: bool, rounds: int = OUR_ROUNDS) -> Rounds:
    """Rounds of a server of ours with its embedded Ray, started and ended for them."""
    with tempfile.TemporaryDirectory(prefix="starling-round-") as name, ExitStack() as ending:
        folder = Path(name)
        server = Server(folder / "data", environment={})
        ending.callback(server.kill_if_running)
        server.start_and_wait()
        people = People(server)
        ending.callback(people.close)
        actor = people("actor", actor=True)
        members = [people("participant", client=True) for _ in range(setting.participants)]
        model = accepted_model(actor, torchscript(Layers(first_model(setting.parameters))))
        order = training_order(
            model,
            target_num_updates=rounds,
            clients=[member.id for member in members],
            options={"skip_model_tests": True},
        )
        created = actor.client.post("/api/trainings/", json=order).raise_for_status().json()
        marks = folder / "marks"
        program = [sys.executable, "-m", "benchmarks.round_participant", f"--port={server.port}"]
        processes = []
        for place, member in enumerate(members):
            command = [*program, f"--place={place}", *(["--native"] if native else [])]
            command += [f"--marks={marks}"] if place == 0 else []
            process = subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=subprocess.PIPE, cwd=REPOSITORY
            )
            ending.callback(_end, process)
            processes.append(process)
            if process.stdin is None:
                raise AssertionError("It was asked for a pipe")
            process.stdin.write(f"{member.token}\n".encode())
            process.stdin.close()
        training = f"/api/trainings/{created['training_id']}/"
        actor.client.post(f"{training}start/").raise_for_status()
        for process in processes:
            if process.wait(timeout=TIMEOUT_SECONDS) != 0:
                raise AssertionError(f"A participant failed:\n{server.log_text()}")
        server.stop()
        return msgspec.json.decode(steady_rounds(marks), type=Rounds)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
