"""`starling simulate` from the command line: on Ray, without it, and what it leaves behind."""

import csv
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from safetensors.torch import load_file

from backend import cli
from tests.backend.simulation.experiments import DIGITS
from tests.servers import REPOSITORY, RayCluster, bare_environment, command

SUMMARY = "summary.json"


def simulate(
    *arguments: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("simulate", *arguments),
        env=bare_environment() | (environment or {}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def digests(folder: Path) -> dict[str, str]:
    """Of every file that is to be the same in each run."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != SUMMARY
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a simulation without Ray whose own files are gone."""
    folder = tmp_path_factory.mktemp("simulation")
    shares = [[number, number + 40] for number in range(40)]
    (folder / "mine.json").write_bytes(msgspec.json.encode(shares))
    partition = '{ kind = "dirichlet", alpha = 0.5 }'
    given = DIGITS.replace(partition, '{ kind = "given", file = "mine.json" }')
    (folder / "digits.toml").write_text(given)

    done = simulate(str(folder / "digits.toml"), "--workers", "0")

    assert done.returncode == 0, done.stdout + done.stderr
    for used in ("mine.json", "digits.toml"):
        (folder / used).unlink()
    return folder / "digits"


def test_results_say_what_happened(finished: Path) -> None:
    with (finished / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["0", "1", "2"]
    assert all(row["drawn"] == "10" and row["outcome"] == "aggregated" for row in rows)
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    summary = msgspec.json.decode((finished / SUMMARY).read_bytes())
    assert summary["rounds"] == 3
    assert summary["test"]["accuracy"] == float(rows[-1]["test_accuracy"])
    assert load_file(finished / "model.safetensors")["0.weight"].shape == (8, 64)
    assert (finished / "plot.svg").read_text().startswith("<?xml")
    with Image.open(finished / "plot.png") as picture:
        assert picture.format == "PNG"


def test_the_folder_is_all_that_it_takes_to_get_the_same_bytes_from_workers(
    finished: Path, tmp_path: Path, ray_cluster: RayCluster
) -> None:
    moved, again = tmp_path / "moved", tmp_path / "again"
    shutil.copytree(finished, moved)

    done = simulate(
        *(str(moved / "experiment.toml"), "--workers", "2", "--out", str(again)),
        environment=ray_cluster.environment(),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert len(digests(again)) == 11
    assert digests(again) == digests(finished)


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ("count = 40", "count = -1", 2, "participants.count"),
        ("count = 40", "count = 4000", 1, "1438 samples cannot be shared by 4000"),
        ("learning_rate = 0.1", "learning_rate = 1000\nweight_decay = 1000", 1, "learning rate"),
        ("probability = 0.1", "probability = 0.99", 1, "given up"),
    ],
)
def test_a_simulation_that_cannot_go_on_ends_with_one_line(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    before: str,
    after: str,
    code: int,
    words: str,
) -> None:
    experiment = tmp_path / "digits.toml"
    experiment.write_text(DIGITS.replace(before, after, 1).replace("epochs = 2", "epochs = 50"))
    monkeypatch.setattr(sys, "argv", ["starling", "simulate", str(experiment), "--workers", "0"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = simulate(str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml" in done.stderr
