"""What the demo shows: a live board on a terminal, plain lines anywhere else."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from examples.digits.messages import Score

BARS = " ▁▂▃▄▅▆▇█"
BAR_WIDTH = 24
LINES_BESIDE_ROWS = 13  # titles, headers and frames of both tables, headline, one to spare


@dataclass(frozen=True)
class ShareRow:
    """One participant: its name, and how many samples of each class it has."""

    name: str
    class_counts: list[int]

    @property
    def size(self) -> int:
        return sum(self.class_counts)


@dataclass
class Progress:
    """All that the board shows, at one moment."""

    rounds: int
    step: str = ""
    shares: list[ShareRow] = field(default_factory=list)
    round: int = 0
    delivered: frozenset[str] = frozenset()
    phase: str = ""
    scores: dict[int, Score] = field(default_factory=dict)


class Display:
    """Shows a `Progress` while it changes; used as a context manager around the training."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.console = console
        self.progress = progress
        self._live: Live | None = None
        self._said_scores: set[int] = set()
        self._over = False
        self._spinner = Spinner("dots")  # one for all frames, or it would never turn

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._board, console=self.console, refresh_per_second=8
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._over = True
            self._live.stop()  # draws once more
            self._live = None

    def step(self, text: str) -> None:
        """Say what is going on before and after the rounds."""
        self.progress.step = text
        if self._live is None:
            self.console.print(text, highlight=False)

    def show_shares(self, shares: list[ShareRow]) -> None:
        self.progress.shares = shares
        if self._live is None:
            self.console.print(share_table(shares, frozenset(), delivering=False))

    def follow(
        self, *, round: int, phase: str, delivered: frozenset[str], scores: dict[int, Score]
    ) -> None:
        """Show where the training is; without a terminal only complete rounds are told."""
        progress = self.progress
        progress.step = ""
        progress.round, progress.phase = round, phase
        progress.delivered, progress.scores = delivered, scores
        if self._live is None:
            for number in sorted(scores.keys() - self._said_scores):
                self._said_scores.add(number)
                score = scores[number]
                self.console.print(
                    f"round {number:>2} of {progress.rounds}: "
                    f"test loss {score.loss:.4f}, test accuracy {score.accuracy:.4f}",
                    highlight=False,
                )

    def _board(self) -> RenderableType:
        progress = self.progress
        if self._over:
            return Group(*self._tables(delivering=False))
        if progress.step:
            headline = Text(progress.step, style="bold")
        else:
            headline = Text.assemble(
                (f"Round {progress.round} of {progress.rounds}", "bold"), f"  {progress.phase}"
            )
        self._spinner.update(text=headline)
        return Group(*self._tables(delivering=not progress.step), self._spinner)

    def _tables(self, *, delivering: bool) -> list[RenderableType]:
        progress = self.progress
        tables: list[RenderableType] = []
        if progress.shares:
            tables.append(share_table(progress.shares, progress.delivered, delivering=delivering))
        scores = progress.scores
        if not self._over:
            # What does not fit on the screen would be cut off at the bottom, where the news are.
            room = self.console.height - len(progress.shares) - LINES_BESIDE_ROWS
            scores = dict(sorted(scores.items())[-max(room, 1) :])
        if scores:
            tables.append(score_table(scores))
        return tables


def share_table(shares: list[ShareRow], delivered: frozenset[str], *, delivering: bool) -> Table:
    """Who takes part, with what, and who has delivered the current round's update."""
    table = Table(title="Participants and their own digits", title_justify="left")
    table.add_column("participant")
    table.add_column("samples", justify="right")
    table.add_column("of digits 0-9")
    if delivering:
        table.add_column("this round", min_width=9)
    most = max((count for share in shares for count in share.class_counts), default=1)
    for share in shares:
        cells = [share.name, f"{share.size}", histogram(share.class_counts, most)]
        if delivering:
            there = share.name in delivered
            cells.append("[green]delivered[/]" if there else "[dim]…[/]")
        table.add_row(*cells)
    return table


def score_table(scores: dict[int, Score]) -> Table:
    """The global model on the test set, after each round."""
    table = Table(title="Global model on the common test set", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("test loss", justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_column("")
    for number, score in sorted(scores.items()):
        bar = "█" * round(score.accuracy * BAR_WIDTH)
        table.add_row(f"{number}", f"{score.loss:.4f}", f"{score.accuracy:.4f}", f"[cyan]{bar}[/]")
    return table


def result_table(federated: Score, alone: dict[str, Score]) -> Table:
    """The reason to federate: the common model beside what each would have had alone."""
    table = Table(title="Test accuracy, same number of local epochs", title_justify="left")
    table.add_column("model")
    table.add_column("test accuracy", justify="right")
    table.add_column("test loss", justify="right")
    table.add_row(
        "[bold]trained together[/]",
        f"[bold green]{federated.accuracy:.4f}[/]",
        f"{federated.loss:.4f}",
        end_section=True,
    )
    for name, score in alone.items():
        table.add_row(f"{name} alone", f"{score.accuracy:.4f}", f"{score.loss:.4f}")
    return table


def histogram(counts: list[int], most: int) -> str:
    """One character per count, as high as its part of `most`; any count above 0 is visible."""
    top = len(BARS) - 1
    return "".join(BARS[-(-count * top // most)] if count else "·" for count in counts)
