"""A whole round over loopback, beside Flower and NVFlare, and what it sends.

Participants are processes that return the model slightly changed. A round lasts from its start to
that of the next: ours as a participant is told, the peers' as the code that drives them begins one.
The first round of a run counts for nobody. Run ours, each peer, and ours again, so that what
disturbs the machine does not favour one.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import nn

from benchmarks import peers
from benchmarks.limits import loopback_seconds
from benchmarks.measurement import Series, alternate
from benchmarks.peer_scripts.layers import shapes
from benchmarks.peer_scripts.marks import steady_rounds
from benchmarks.report import Figure, Report, figure, report
from tests.federations import People, accepted_model, training_order
from tests.model_files import torchscript
from tests.servers import REPOSITORY, Server

OUR_ROUNDS = 6
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
QUICK_SETTINGS = (Setting(2, 1_200_000),)


class Layers(nn.Module):
    """Holds tensors of these shapes and does nothing."""

    def __init__(self, layers: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in layers.items():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(torch.zeros(shape)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What it was given."""
        return inputs


def measure(*, quick: bool) -> Report:
    """Answer the question; `quick`: one small setting, beside Flower alone."""
    figures: list[Figure] = []
    for setting in QUICK_SETTINGS if quick else SETTINGS:
        figures += measure_setting(setting, [FLOWER] if quick else [FLOWER, NVFLARE])
    return report(
        "round",
        "Whole rounds over loopback",
        figures,
        f"Peers: {peers.requirements('flower')}; {peers.requirements('nvflare')}.",
        f"With more than {MOST_PARTICIPANTS_OF_PEERS} participants the peers are left out.",
    )


def measure_setting(setting: Setting, beside: Sequence[Peer]) -> list[Figure]:
    """Rows of one setting: beside each peer, the bytes, and the machine's limit."""
    ours = our_rounds(setting, native=True)
    theirs = {}
    if setting.participants <= MOST_PARTICIPANTS_OF_PEERS:
        theirs = {peer: peer_rounds(peer, setting) for peer in beside}
    ours = ours.and_then(our_rounds(setting, native=True))
    forms = our_rounds(setting, native=False)
    limit = alternate({"loopback": lambda: loopback_seconds(setting.ideal_bytes)})["loopback"]
    rows = [
        figure(
            f"round, {setting.name}",
            "s",
            Series(tuple(ours.seconds)),
            beside_name=peer.title,
            beside=Series(tuple(rounds.seconds)),
            ratio_name="times as fast",
            ratio=Series(tuple(rounds.seconds)).median / Series(tuple(ours.seconds)).median,
            at_least=peer.target,
            participants=setting.participants,
            parameters=setting.parameters,
        )
        for peer, rounds in theirs.items()
    ]
    rows.append(
        figure(
            f"round with forms of TorchScript, {setting.name}",
            "s",
            Series(tuple(forms.seconds)),
            beside_name="native path",
            beside=Series(tuple(ours.seconds)),
            ratio_name="of its time",
            ratio=Series(tuple(forms.seconds)).median / Series(tuple(ours.seconds)).median,
            participants=setting.participants,
            parameters=setting.parameters,
        )
    )
    rows.append(
        figure(
            f"round, {setting.name}",
            "s",
            Series(tuple(ours.seconds)),
            beside_name="the same bytes over a raw socket",
            beside=limit,
            ratio_name="of its time",
            ratio=Series(tuple(ours.seconds)).median / limit.median,
            participants=setting.participants,
            parameters=setting.parameters,
        )
    )
    rows += [
        figure(
            f"bytes over loopback as part of the ideal, {setting.name}{what}",
            "×",
            _parts(rounds, setting),
            at_most=at_most,
            participants=setting.participants,
            parameters=setting.parameters,
        )
        for what, rounds, at_most in [
            ("", ours, 1.05),
            (", forms of TorchScript", forms, 1.05),
            *[(f", {peer.title}", rounds, None) for peer, rounds in theirs.items()],
        ]
    ]
    return rows


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
        model = accepted_model(actor, torchscript(Layers(shapes(setting.parameters))))
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
            command = [*program, *(["--native"] if native else [])]
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


def _parts(rounds: Rounds, setting: Setting) -> Series:
    return Series(tuple(count / setting.ideal_bytes for count in rounds.bytes))
