"""docs/examples.md: each example does what the page shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import Page, reader, run
from tests.servers import REPOSITORY, Server

pytestmark = pytest.mark.e2e

PAGE = Page("examples.md")
EXAMPLES = ("tabular", "images", "personal_head", "clipping", "notebook")
_MEAN = re.compile(r"^after round (\d+): accuracy (\S+?)(?:, AUC (\S+))?$", re.MULTILINE)


def blocks_of(example: str) -> tuple[str, str]:
    """The commands of an example, and what the page says that they print."""
    number = EXAMPLES.index(example)
    shown = PAGE.blocks("")
    return PAGE.blocks("bash")[number], shown[number] if number < len(shown) else ""


def trained(example: str, server: Server, folder: Path) -> str:
    """What the example prints, from a copy: it may leave files."""
    ignored = shutil.ignore_patterns("__pycache__", "digits")
    shutil.copytree(REPOSITORY / "examples", folder / "examples", ignore=ignored)
    commands, shown = blocks_of(example)
    printed = run(commands, folder, {"URL": server.url, "OMP_NUM_THREADS": "1"})
    means = _MEAN.findall(printed)
    *_, (last, accuracy, auc) = _MEAN.findall(shown)
    assert [int(round) for round, _, _ in means] == list(range(1, int(last) + 1))
    # Other processors round otherwise: the course is the same, not every digit.
    assert float(means[-1][1]) == pytest.approx(float(accuracy), abs=0.03)
    assert bool(means[-1][2]) == bool(auc)
    return printed


def test_a_table_is_learnt_with_its_standardisation(server: Server, tmp_path: Path) -> None:
    printed = trained("tabular", server, tmp_path)
    assert float(_MEAN.findall(printed)[-1][2]) > 0.98
    assert "\npatient 0: malignant\n" in printed


def test_images_and_an_answer_that_knows_when_it_does_not_know(
    server: Server, tmp_path: Path
) -> None:
    printed = trained("images", server, tmp_path)
    digit, noise = re.findall(r"a (\d) with .*entropy (\S+) nats", printed)
    assert digit[0] == "0"
    assert float(digit[1]) < 0.2 < float(noise[1])


def test_each_site_is_right_with_a_head_of_its_own(server: Server, tmp_path: Path) -> None:
    printed = trained("personal_head", server, tmp_path)
    sites = re.findall(r"^site (\d), evaluate, round 8: accuracy (\S+)$", printed, re.MULTILINE)
    assert [site for site, _ in sites] == ["0", "1", "2"]
    # With a common head, names that contradict each other: a third at best.
    assert min(float(accuracy) for _, accuracy in sites) > 0.9


def test_updates_have_the_norm_that_they_were_bounded_to(server: Server, tmp_path: Path) -> None:
    printed = trained("clipping", server, tmp_path)
    moved = re.findall(r"^site \d, round 11: moved by (\S+), sent (\S+)$", printed, re.MULTILINE)
    assert len(moved) == 3
    assert all(float(norm) > 1.0 and float(sent) == 1.0 for norm, sent in moved)


def test_a_site_that_fails_ends_all_and_says_why(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(REPOSITORY / "examples" / "tabular", mine)
    shutil.copy(REPOSITORY / "examples" / "together.sh", tmp_path)
    site = mine / "site.py"
    site.write_text(
        'import sys\nif sys.argv[1] == "1":\n    raise OSError("no data")\n' + site.read_text()
    )
    ended = subprocess.run(
        [str(tmp_path / "together.sh"), "mine"],
        env=reader({"URL": server.url, "OMP_NUM_THREADS": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "OSError: no data" in ended.stderr
    assert "after round" not in ended.stdout


def test_a_notebook_takes_part_and_draws_what_came_of_it(server: Server, tmp_path: Path) -> None:
    for name in ("notebook", "script"):
        shutil.copytree(REPOSITORY / "examples" / name, tmp_path / name)
    commands, _ = blocks_of("notebook")
    run(commands, tmp_path / "notebook", {"URL": server.url, "OMP_NUM_THREADS": "1"})
    cells = json.loads((tmp_path / "notebook" / "executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    printed = "".join("".join(output.get("text", ())) for output in outputs)
    right = re.search(r"^(\d+) of 360 right$", printed, re.MULTILINE)
    assert right
    assert int(right[1]) > 325
    assert re.search(rf"evaluate, round 5: accuracy {int(right[1]) / 360:.3f}", printed)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    committed = json.loads((REPOSITORY / "examples/notebook/participant.ipynb").read_text())
    assert not any(cell.get("outputs") for cell in committed["cells"])
