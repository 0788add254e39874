"""The quick start, from nothing to an answer of the trained model, as its reader would do it."""

import re
from pathlib import Path

from tests.docs.pages import DOCUMENTED_URL, Page, run, serving
from tests.servers import RayCluster, free_port

PAGE = Page("quickstart.md")


def test_three_participants_train_a_network_that_answers(
    tmp_path: Path, ray_cluster: RayCluster
) -> None:
    serve, setup, everybody = PAGE.blocks("bash")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    assert DOCUMENTED_URL in setup
    # A reader's port and home are not a test's; the cluster is shared to save its start.
    own = {"STARLING_PORT": str(port), "HOME": str(tmp_path)} | ray_cluster.environment()
    for program in ("actor.py", "participant.py", "ask.py"):
        (tmp_path / program).write_text(PAGE.file(program))
    # Programs are saved in the clone, whose environment is active already.
    export = setup.replace(". .venv/bin/activate\n", "").replace(DOCUMENTED_URL, url)

    with serving(serve, url, own, tmp_path / "server.log"):
        printed = run(export + everybody, tmp_path, {"OMP_NUM_THREADS": "1"})
        asked = run(export + "python ask.py", tmp_path, {})

    assert printed.startswith("started ")
    reports = re.findall(r"^hospital-(\d): round (\d), accuracy (\S+)$", printed, re.MULTILINE)
    assert {(number, round) for number, round, _ in reports} == {
        (number, round) for number in "123" for round in "12345"
    }
    first, last = (
        [float(accuracy) for _, round, accuracy in reports if round == which] for which in "15"
    )
    assert max(first) < min(last)
    assert min(last) > 0.9
    zero, noise = (line.split() for line in asked.splitlines())
    assert zero[:2] == ["a", "0"]
    assert float(zero[-2]) < 0.2 < float(noise[-2])
    assert (tmp_path / ".starling" / "starling.sqlite").exists()
