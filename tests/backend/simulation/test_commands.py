"""`starling simulate` from the command line: on Ray, without it, and what it leaves behind."""

import csv
import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from safetensors.torch import load_file

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


def written(folder: Path, text: str = DIGITS) -> str:
    path = folder / "digits.toml"
    path.write_text(text)
    return str(path)


def digests(folder: Path) -> dict[str, str]:
    """Of every file that is to be the same in each run."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != SUMMARY
    }


def test_any_number_of_workers_leaves_the_same_bytes(
    tmp_path: Path, ray_cluster: RayCluster
) -> None:
    experiment = written(tmp_path)
    found = {}
    for workers in ("0", "1", "2"):
        done = simulate(
            *(experiment, "--workers", workers, "--out", str(tmp_path / workers)),
            environment=ray_cluster.environment(),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        found[workers] = digests(tmp_path / workers)
    assert len(found["0"]) == 10
    assert found["0"] == found["1"] == found["2"]


def test_results_say_what_happened(tmp_path: Path) -> None:
    done = simulate(written(tmp_path), "--workers", "0")

    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "digits"
    with (folder / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["0", "1", "2"]
    assert all(row["drawn"] == "10" and row["outcome"] == "aggregated" for row in rows)
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    summary = msgspec.json.decode((folder / SUMMARY).read_bytes())
    assert summary["rounds"] == 3
    assert summary["test"]["accuracy"] == float(rows[-1]["test_accuracy"])
    assert load_file(folder / "model.safetensors")["0.weight"].shape == (8, 64)
    assert (folder / "plot.svg").read_text().startswith("<?xml")
    with Image.open(folder / "plot.png") as picture:
        assert picture.format == "PNG"


def test_the_folder_is_all_that_it_takes_to_run_the_experiment_again(tmp_path: Path) -> None:
    shares = [[number, number + 40] for number in range(40)]
    (tmp_path / "mine.json").write_bytes(msgspec.json.encode(shares))
    partition = '{ kind = "dirichlet", alpha = 0.5 }'
    given = DIGITS.replace(partition, '{ kind = "given", file = "mine.json" }')
    first, again = tmp_path / "first", tmp_path / "again"
    assert simulate(written(tmp_path, given), "--workers", "0", "--out", str(first)).returncode == 0
    first.rename(tmp_path / "moved")
    (tmp_path / "mine.json").unlink()

    done = simulate(
        *(str(tmp_path / "moved" / "experiment.toml"), "--workers", "0", "--out", str(again))
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(again) == digests(tmp_path / "moved")


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
    tmp_path: Path, before: str, after: str, code: int, words: str
) -> None:
    text = DIGITS.replace(before, after, 1).replace("epochs = 2", "epochs = 50")
    done = simulate(written(tmp_path, text), "--workers", "0")
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert words in line


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = simulate(str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml" in done.stderr
