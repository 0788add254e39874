"""Runs a whole federated training on this machine: server, Ray and participants as processes."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import msgspec
import numpy as np
from rich.console import Console

from examples.digits.actor import POLL_SECONDS, Account, Actor, TrainingState
from examples.digits.children import Child, DemoFailed, start_module
from examples.digits.display import Display, Progress, ShareRow, result_table
from examples.digits.messages import Enrolment, Listening, Report, Score, TrainedAlone
from examples.digits.shares import NUM_CLASSES, dirichlet_shares, load_samples, split_test

HOST = "127.0.0.1"
PREFERRED_PORT = 8000
INPUT_SHAPE = (None, 1, 8, 8)
# How long a request that failed waits for the exit of the process that is likely to be the cause.
CAUSE_WITHIN_SECONDS = 2.0

T = TypeVar("T")

_report_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        alpha: Concentration of the Dirichlet draw; small: participants hold few classes each.
        port: Port of the server; None: 8000, or a free one when that is taken.
        exit_when_done: End after the training instead of serving until Ctrl-C.
        output: Where to put a copy of the trained model; None: only in the data directory.
    """

    participants: int
    rounds: int
    alpha: float
    seed: int
    port: int | None
    exit_when_done: bool
    output: Path | None


@dataclass(frozen=True)
class Member:
    """A participant's process and, once it is registered, its account."""

    child: Child
    account: Account


@dataclass
class Demo:
    """One run: its folder, and every process that has to be ended with it."""

    plan: Plan
    display: Display
    folder: Path
    server: str
    children: list[Child] = field(default_factory=list)
    trained: bool = False

    async def run(self) -> None:
        """Train, show the results, and serve until cancelled unless the plan says to end."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            server = await self._start_server()
            actor = Actor(self.server)
            stack.push_async_callback(actor.close)
            with self.display:
                participants, archive = await guarded(self._prepare(actor), self.children)
                account, password = await self._sign_up(actor)
                members = await guarded(self._enrol(actor, participants), self.children)
                actor.sign_in(account)
                model_id = await actor.upload_model("digits", archive, INPUT_SHAPE)
                clients = [member.account.id for member in members]
                training_id = await actor.create_training(
                    model_id, clients, rounds=self.plan.rounds
                )
                await actor.start_training(training_id)
                final = await guarded(self._follow(actor, training_id, members), self.children)
                self.display.step("Training each participant alone, for comparison")
                alone = await guarded(self._alone(members), self.children)
                saved = await self._save(actor, model_id)
            self.trained = True
            self._show_result(final, alone, saved)
            if not self.plan.exit_when_done:
                self._show_where_to_look(server, account, password)
                await server.ended()
                raise DemoFailed(f"The server ended by itself: {server.last_words()}")

    async def stop(self) -> None:
        """End every process: participants first, so that none talks to a server that is gone."""
        await asyncio.gather(*(child.stop() for child in self.children[1:]))
        for server in self.children[:1]:
            await server.stop()

    def kill(self) -> None:
        """End every process at once, without a chance to tidy up."""
        for child in self.children:
            child.kill()

    @property
    def _server_folder(self) -> Path:
        return self.folder / "server"

    async def _start_server(self) -> Child:
        # The user's settings stay out: a demo must never write into a database of theirs. Those
        # of the embedded Ray and its workers do no harm.
        harmless = ("STARLING_RAY_", "STARLING_KEEP_WORKERS_READY")
        environ = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(harmless) or not name.startswith("STARLING_")
        }
        environ |= {
            "STARLING_HOST": HOST,
            "STARLING_PORT": self.server.rsplit(":", 1)[1],
            "STARLING_DATA_DIR": str(self._server_folder),
        }
        self.display.step(f"Starting the server and Ray (data in {self.folder})")
        return await self._start("backend.cli", "serve", name="server", environ=environ)

    async def _start(
        self,
        module: str,
        *arguments: str,
        name: str,
        environ: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> Child:
        log = self.folder / f"{name}.log"
        child = await start_module(
            module, *arguments, name=name, log=log, environ=environ, talks=talks
        )
        self.children.append(child)
        return child

    async def _prepare(self, actor: Actor) -> tuple[list[tuple[Child, int]], Path]:
        """Participants with the port each listens on, and the initial model, on a ready server."""
        rows = await asyncio.to_thread(self._write_shares)
        self.display.show_shares(rows)
        archive = self.folder / "initial-model.pt"
        maker, *participants = await asyncio.gather(
            self._start(
                "examples.digits.network",
                str(self.plan.seed),
                str(archive),
                name="initial-model",
            ),
            *(self._start_participant(index) for index in range(self.plan.participants)),
        )
        if await maker.ended() != 0:
            raise DemoFailed(f"No initial model could be made: {maker.last_words()}")
        ports = await asyncio.gather(*(_listening_port(child) for child in participants))
        await actor.wait_until_ready()
        return list(zip(participants, ports, strict=True)), archive

    def _write_shares(self) -> list[ShareRow]:
        """Give each participant a file of its own samples, and all the common test set."""
        training, test = split_test(load_samples())
        test.save(self.folder / "test.npz")
        rows = []
        shares = dirichlet_shares(
            training.labels, self.plan.participants, alpha=self.plan.alpha, seed=self.plan.seed
        )
        for index, indices in enumerate(shares):
            share = training.take(indices)
            share.save(self._share_file(index))
            counts = np.bincount(share.labels, minlength=NUM_CLASSES).tolist()
            rows.append(ShareRow(participant_name(index), counts))
        return rows

    def _share_file(self, index: int) -> Path:
        return self.folder / f"{participant_name(index)}.npz"

    async def _start_participant(self, index: int) -> Child:
        name = participant_name(index)
        return await self._start(
            "examples.digits.participant",
            *("--share", str(self._share_file(index))),
            *("--test", str(self.folder / "test.npz")),
            *("--index", str(index)),
            *("--seed", str(self.plan.seed)),
            name=name,
            talks=True,
        )

    async def _sign_up(self, actor: Actor) -> tuple[Account, str]:
        password = secrets.token_urlsafe(12)
        return await actor.register("actor", password, actor=True), password

    async def _enrol(self, actor: Actor, participants: list[tuple[Child, int]]) -> list[Member]:
        """Register each participant's user and tell the participant who it is."""
        members = []
        for child, port in participants:
            endpoint = f"http://{HOST}:{port}/"
            password = secrets.token_urlsafe(12)
            account = await actor.register(child.name, password, endpoint=endpoint)
            await child.write_line(msgspec.json.encode(Enrolment(self.server, account.token)))
            members.append(Member(child, account))
        return members

    async def _follow(self, actor: Actor, training_id: str, members: list[Member]) -> Score:
        """Show the training until it is complete; the final score of the global model."""
        names = {member.account.id: member.child.name for member in members}
        while True:
            training = await actor.training(training_id)
            model, *updates = await actor.training_models(training_id)
            reported = await actor.scores(model.id)
            scores = {
                round: _mean(of_round)
                for round, of_round in reported.items()
                if len(of_round) == len(members)
            }
            if training.state == "E":
                raise DemoFailed(f"The training failed: {training.error or 'no reason given'}")
            delivered = frozenset(
                names[update.owner] for update in updates if update.round == model.round
            )
            self.display.follow(
                round=min(model.round + 1, self.plan.rounds),
                phase=_phase(training, testing=0 < model.round not in scores),
                delivered=delivered,
                scores=scores,
            )
            if training.state == "C" and self.plan.rounds in scores:
                return scores[self.plan.rounds]
            await asyncio.sleep(POLL_SECONDS)

    async def _alone(self, members: list[Member]) -> dict[str, Score]:
        reports = await asyncio.gather(*(_last_report(member.child) for member in members))
        names = [member.child.name for member in members]
        return {name: report.score for name, report in zip(names, reports, strict=True)}

    async def _save(self, actor: Actor, model_id: str) -> Path:
        saved = self.folder / "digits-model.pt"
        saved.write_bytes(await actor.download_model(model_id))
        if self.plan.output is not None:
            shutil.copyfile(saved, self.plan.output)
            return self.plan.output.resolve()
        return saved

    def _show_result(self, final: Score, alone: dict[str, Score], saved: Path) -> None:
        console = self.display.console
        console.print(result_table(final, alone))
        console.print(
            f"Final test accuracy: {final.accuracy:.4f} (loss {final.loss:.4f}); alone "
            f"{min(score.accuracy for score in alone.values()):.4f} to "
            f"{max(score.accuracy for score in alone.values()):.4f}.",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"Trained model: {saved}", highlight=False, soft_wrap=True)

    def _show_where_to_look(self, server: Child, account: Account, password: str) -> None:
        rows = [
            ("API docs", f"{self.server}/api/schema/swagger-ui/"),
            ("", f"{self.server}/api/schema/redoc/"),
            ("Sign in as", f"{account.username}, password {password}"),
            ("", f"or with the header Authorization: Token {account.token}"),
        ]
        dashboard = self._server_folder / "ray-dashboard.json"
        if dashboard.exists():
            ray = msgspec.json.decode(dashboard.read_bytes(), type=RayDashboard)
            rows.append(("Ray dashboard", ray.url or "switched off"))
            if ray.url and ray.token:
                rows.append(("", f"token {ray.token}"))
        rows.append(("Server log", str(server.log)))
        for label, value in rows:
            # No table: a token folded over two lines cannot be copied.
            self.display.console.print(f"{label:<15}{value}", highlight=False, soft_wrap=True)
        self.display.console.print("Serving until Ctrl-C.", highlight=False)


class RayDashboard(msgspec.Struct, frozen=True):
    """What the server writes about its embedded Ray."""

    url: str | None = None
    token: str | None = None


def participant_name(index: int) -> str:
    return f"participant-{index + 1}"


async def guarded(work: Coroutine[object, object, T], children: Sequence[Child]) -> T:
    """The result of `work`, unless one of the processes it needs fails first.

    The first child is the server, which must not end at all; the others may, with code 0.

    Raises:
        DemoFailed: Names the child that ended and quotes the last line of its log.
    """
    task = asyncio.ensure_future(work)
    ends = [asyncio.ensure_future(_ended_well(child, child is children[0])) for child in children]
    failure = asyncio.gather(*ends)
    both: set[asyncio.Future[T] | asyncio.Future[list[None]]] = {task, failure}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and task.exception() is not None and not failure.done():
            await asyncio.wait({failure}, timeout=CAUSE_WITHIN_SECONDS)
        if failure.done():
            await failure
        return await task
    finally:
        task.cancel()
        failure.cancel()
        await asyncio.gather(task, failure, return_exceptions=True)


async def _ended_well(child: Child, must_stay: bool) -> None:
    code = await child.ended()
    if code != 0 or must_stay:
        raise DemoFailed(f"{child.name} ended with code {code}: {child.last_words()}")


async def _listening_port(child: Child) -> int:
    report = await _report(child)
    if not isinstance(report, Listening):
        raise DemoFailed(f"{child.name} did not say where it listens")
    return report.port


async def _last_report(child: Child) -> TrainedAlone:
    report = await _report(child)
    if not isinstance(report, TrainedAlone):
        raise DemoFailed(f"{child.name} did not say how it does alone")
    return report


async def _report(child: Child) -> Report:
    line = await child.read_line()
    if not line:
        code = await child.ended()
        raise DemoFailed(f"{child.name} ended with code {code}: {child.last_words()}")
    return _report_decoder.decode(line)


def _mean(scores: list[Score]) -> Score:
    return Score(
        loss=fmean(score.loss for score in scores),
        accuracy=fmean(score.accuracy for score in scores),
    )


def _phase(training: TrainingState, *, testing: bool) -> str:
    if training.state == "I":
        return "about to start"
    if testing:
        return "participants test the new global model"
    return f"{training.local_models_arrived} of {training.local_models_expected} updates delivered"


def free_port(wanted: int | None) -> int:
    """The wanted port, else 8000 or, when that is taken, one that is free.

    Raises:
        DemoFailed: The wanted port is taken.
    """
    for port in (PREFERRED_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As servers do: a port that a server left a moment ago counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed(f"Port {wanted} is taken: choose another with --port.")


async def run_demo(plan: Plan, console: Console) -> int:
    """Run the plan; the exit code.

    SIGINT, SIGTERM and SIGHUP end everything in order; a second one ends it at once.
    """
    folder = Path(tempfile.mkdtemp(prefix="starling-demo-"))
    display = Display(console, Progress(rounds=plan.rounds))
    try:
        demo = Demo(plan, display, folder, server=f"http://{HOST}:{free_port(plan.port)}")
    except DemoFailed as failure:
        folder.rmdir()
        console.print(f"[red]{failure}[/]", soft_wrap=True)
        return 1
    running = asyncio.ensure_future(demo.run())
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            console.print("Stopping the server and the participants.", highlight=False)
            running.cancel()
        else:
            demo.kill()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await running
    except asyncio.CancelledError:
        return 0 if demo.trained else 128 + received[0]
    except DemoFailed as failure:
        console.print(f"[red]{failure}[/]", soft_wrap=True, highlight=False)
        console.print(f"Logs are in {folder}", soft_wrap=True, highlight=False)
        return 1
    return 0
