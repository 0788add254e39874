"""`python -m benchmarks QUESTION`: measure, print a table, write JSON."""

import argparse
import importlib
from pathlib import Path
from typing import Protocol

from benchmarks.report import RESULTS, Report, publish

# Each is a module of this package that answers one question.
QUESTIONS = {
    "turnaround": "from a round's last 201 to the next round's notification",
    "round": "a whole round over loopback, beside Flower and NVFlare",
    "transfer": "uploads and downloads, and the event loop's responsiveness meanwhile",
    "aggregate": "folding updates into the weighted mean, and what it takes in memory",
    "robust": "gathering strategies: the coordinate-wise median",
    "predict": "predictions with uncertainty under load",
    "idle": "a thousand participants that wait",
    "start": "from process start to the first answer, and the idle process's memory",
    "simulate": "virtual participants on Ray, beside Flower's simulation engine",
}


class Question(Protocol):
    """What a module that answers a question offers."""

    def measure(self, *, quick: bool) -> Report:
        """Start what is needed, measure, end it; `quick`: smaller and fewer, to see it work."""
        ...


def main() -> None:
    """Answer one question, or all."""
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    questions = "\n".join(f"{name}: {about}" for name, about in QUESTIONS.items())
    parser.add_argument("question", choices=[*QUESTIONS, "all"], help=questions, metavar="QUESTION")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repetitions")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    chosen = list(QUESTIONS) if arguments.question == "all" else [arguments.question]
    for name in chosen:
        question: Question = importlib.import_module(f"benchmarks.{name}")
        publish(question.measure(quick=arguments.quick), arguments.out)


if __name__ == "__main__":
    main()
