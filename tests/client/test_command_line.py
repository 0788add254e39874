"""`starling-client` as somebody types it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server, bare_environment, free_port


def starling_client(
    *arguments: str, folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "starling_client.command_line", *arguments],
        cwd=folder,
        env=bare_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    path = tmp_path / "loop.py"
    path.write_text(
        "import os, sys\n"
        "import beside\n"
        "print(beside.WORD, sys.argv, os.environ['STARLING_CLIENT_TRAINING'], flush=True)\n"
        "import starling_client\n"
        "for task in starling_client.join(): pass\n"
    )
    return path


def test_a_script_finds_its_arguments_its_neighbours_and_the_training(
    script: Path, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = starling_client(
        *("join", "--url", url, "--training", "17", str(script), "--epochs", "3", "fast"),
        folder=tmp_path.parent,
        STARLING_CLIENT_TOKEN="0" * 40,
    )
    assert ended.stdout == f"found ['{script}', '--epochs', '3', 'fast'] 17\n"
    # What goes wrong is a sentence, and no traceback.
    assert ended.returncode == 1
    assert ended.stderr.startswith("UnknownTraining: '17' is not the id of a training.")
    assert "Traceback" not in ended.stderr


def test_a_mistake_of_the_script_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    ended = starling_client("join", "broken.py", folder=tmp_path)
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr


def test_a_token_goes_into_a_new_file_that_nobody_else_reads(
    server: Server, tmp_path: Path
) -> None:
    def register(file: str) -> "subprocess.CompletedProcess[str]":
        return starling_client(
            *("register", "somebody-once", "--url", server.url, "--token-file", file),
            folder=tmp_path,
            STARLING_CLIENT_PASSWORD="secret-17",
        )

    first = register("token")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    token = (tmp_path / "token").read_text()
    assert re.fullmatch(r"[0-9a-f]{40}\n", token)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    # Neither the file nor the name twice; what is there stays.
    again = register("token")
    assert again.returncode == 1
    assert again.stderr == "token: File exists. A token file is a new one.\n"
    assert (tmp_path / "token").read_text() == token
    taken = register("other")
    assert taken.returncode == 1
    assert taken.stderr.startswith("InvalidRequest: username: A user with that")
    assert "doctor" not in taken.stderr
    assert not (tmp_path / "other").exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    ended = starling_client("register", "somebody", "--password", "secret-17", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == (
        "MissingSetting: The address of the server is missing: pass it, or set "
        "STARLING_CLIENT_URL.\n"
    )
