"""Processes of the cluster load what all of them need: they start, and start anew, often."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision import transforms

# Each takes seconds of every process; transforms and exported programs bring them along when met.
LATE = ("torchvision", "torch._dynamo", "sympy")


class Suppression(nn.Module):
    """Keeps the best of boxes that overlap, by an operator of torchvision's."""

    def forward(self, boxes: Tensor) -> Tensor:
        """Rows of four coordinates and a score."""
        kept: Tensor = torch.ops.torchvision.nms(boxes[:, :4], boxes[:, 4], 0.5)
        return kept


def test_compute_starts_without_what_few_models_need() -> None:
    program = (
        "import sys, compute.aggregator, compute.checks, compute.predictor\n"
        f"print([name for name in {LATE!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["operators", "transforms"])
def test_torchvision_comes_with_the_first_file_that_names_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "operators":
        torch.jit.save(torch.jit.script(Suppression()), str(path))
        load = "load_module"
    else:
        torch.save(transforms.Compose([transforms.Resize((4, 4))]), path)
        load = "load_preprocessing"
    program = (
        "import sys, pathlib\n"
        f"from compute.formats import {load}\n"
        "assert 'torchvision' not in sys.modules\n"
        f"print(type({load}(pathlib.Path({str(path)!r}))).__name__, 'torchvision' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    name = "RecursiveScriptModule" if kind == "operators" else "Compose"
    assert shown.stdout == f"{name} True\n"
