"""Processes of the cluster load what all of them need: they start, and start anew, often."""

import subprocess
import sys

# Each takes seconds of every process; transforms and exported programs bring them along when met.
LATE = ("torchvision", "torch._dynamo", "sympy")


def test_compute_starts_without_what_few_models_need() -> None:
    program = (
        "import sys, compute.aggregator, compute.checks, compute.predictor\n"
        f"print([name for name in {LATE!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
