"""The demo from outside: real server, real Ray, real participants, each a process."""

import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from click.testing import CliRunner

from examples.digits.__main__ import main
from examples.digits.learning import score
from examples.digits.shares import load_samples, split_test
from tests.e2e.demos import RunningDemo, scores_by_round
from tests.servers import RayCluster, short_temporary_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_temporary_folder("demo") as made:
        yield made


def test_demo_trains_a_model_that_scores_what_was_printed_and_serves_until_ctrl_c(
    folder: Path,
) -> None:
    with RunningDemo(folder, "--participants", "2", "--rounds", "2") as demo:
        docs = demo.read_until(r"API docs +(http://\S+)")[1]
        demo.read_until("Serving until Ctrl-C")
        assert httpx.get(docs).status_code == 200
        demo.press_ctrl_c()
        assert demo.read_to_end() == 0, demo.output
        demo.wait_until_nothing_is_left()

    rounds = list(scores_by_round(demo.output))
    assert [number for number, _, _ in rounds] == [1, 2], demo.output
    final = re.search(r"Final test accuracy: ([\d.]+) \(loss ([\d.]+)\)", demo.output)
    assert final is not None, demo.output
    accuracy, loss = float(final[1]), float(final[2])
    assert (loss, accuracy) == rounds[-1][1:]
    # Two rounds are enough to be far above the 0.1 of guessing.
    assert accuracy > 0.5

    saved = re.search(r"^Trained model: (.+)$", demo.output, flags=re.MULTILINE)
    assert saved is not None, demo.output
    _, test = split_test(load_samples())
    again = score(torch.jit.load(saved[1]), test)
    assert again.accuracy == pytest.approx(accuracy, abs=1e-4)
    assert again.loss == pytest.approx(loss, abs=1e-4)


def test_exit_ends_it_after_the_training(folder: Path, ray_cluster: RayCluster) -> None:
    with RunningDemo(
        *(folder, "--participants", "1", "--rounds", "1", "--exit"),
        environment=ray_cluster.environment(),
    ) as demo:
        assert demo.read_to_end() == 0, demo.output
        demo.wait_until_nothing_is_left()
    assert "Trained model" in demo.output
    assert "Serving" not in demo.output


@contextmanager
def training_demo(folder: Path, environment: Mapping[str, str]) -> Iterator[RunningDemo]:
    """A demo in its first round, with much to do."""
    with RunningDemo(
        folder, "--participants", "2", "--rounds", "1000", environment=environment
    ) as demo:
        demo.read_until("^round +1 of 1000")
        yield demo


def test_ctrl_c_during_the_training_leaves_no_process(
    folder: Path, ray_cluster: RayCluster
) -> None:
    with training_demo(folder, ray_cluster.environment()) as demo:
        demo.press_ctrl_c()
        assert demo.read_to_end() == 130, demo.output
        demo.wait_until_nothing_is_left()


def assert_it_ends_with_one_line(demo: RunningDemo, named: str) -> None:
    assert demo.read_to_end() == 1, demo.output
    assert len(re.findall(named, demo.output)) == 1, demo.output
    assert "Traceback" not in demo.output
    demo.wait_until_nothing_is_left()


def test_a_participant_that_dies_ends_the_demo(folder: Path, ray_cluster: RayCluster) -> None:
    with training_demo(folder, ray_cluster.environment()) as demo:
        demo.processes_of("examples.digits.participant")[0].kill()
        assert_it_ends_with_one_line(demo, r"participant-\d ended")


def test_a_server_that_dies_ends_the_demo_and_takes_its_ray_along(folder: Path) -> None:
    with training_demo(folder, {}) as demo:
        demo.processes_of("backend.cli")[0].kill()
        assert_it_ends_with_one_line(demo, "server ended")


def test_a_taken_port_is_refused_in_one_line(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        with RunningDemo(folder, "--port", port) as demo:
            assert demo.read_to_end() == 1
    assert demo.output == f"Port {port} is taken: choose another with --port.\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("--participants", "0"), ("--alpha", "0"), ("--rounds", "x")]
)
def test_a_bad_value_is_refused_by_the_name_of_its_flag(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 2
    assert arguments[0] in ended.output
    assert list(folder.iterdir()) == []


def test_an_unknown_flag_is_refused_by_name(folder: Path) -> None:
    with RunningDemo(folder, "--nonsense") as demo:
        assert demo.read_to_end() == 2
    assert "--nonsense" in demo.output
    assert list(folder.iterdir()) == []
