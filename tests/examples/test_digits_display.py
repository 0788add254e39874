"""What the demo shows, on a terminal and anywhere else."""

import io

from rich.console import Console

from examples.digits.display import Display, Progress, ShareRow, histogram
from examples.digits.messages import Score

SHARES = [ShareRow("participant-1", [5] * 10), ShareRow("participant-2", [0] * 9 + [3])]


def shown(*, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    with Display(console, Progress(rounds=3)) as display:
        display.step("Starting")
        display.show_shares(SHARES)
        for number in range(3):
            display.follow(
                round=number + 1,
                phase="1 of 2 updates delivered",
                delivered=frozenset({"participant-2"}),
                scores={done: Score(loss=1.5, accuracy=0.25) for done in range(1, number + 1)},
            )
    return output.getvalue()


def test_without_a_terminal_each_complete_round_is_told_once() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line for line in lines if line.startswith("round")] == [
        "round  1 of 3: test loss 1.5000, test accuracy 0.2500",
        "round  2 of 3: test loss 1.5000, test accuracy 0.2500",
    ]


def test_without_a_terminal_no_control_characters_are_written() -> None:
    assert "\x1b" not in shown(terminal=False)


def test_a_terminal_keeps_shares_and_scores_when_the_training_is_over() -> None:
    last_frame = shown(terminal=True).rsplit("Participants and their own digits", 1)[1]
    assert "participant-2" in last_frame
    assert "0.2500" in last_frame
    assert "Round" not in last_frame


def test_a_histogram_shows_every_class_that_is_there() -> None:
    assert histogram([0, 1, 50, 100], 100) == "·▁▄█"
