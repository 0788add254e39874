"""`starling serve` as an operator sees it: refusals, stopping."""

import contextlib
import socket
import sqlite3
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.conftest import ServerMaker
from tests.servers import REPOSITORY, bare_environment, command, free_port
from tests.waiting import wait_until


def refusal(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """The one line on stderr of a `serve` that must not start."""
    ended = subprocess.run(
        command("serve", *arguments),
        env=bare_environment() | (environment or {}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode > 0, ended
    assert "Traceback" not in ended.stdout + ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--port", "x"], "port"),
        (["--port", "70000"], "port"),
        (["--port"], "port"),
        (["surplus"], "surplus"),
    ],
)
def test_a_bad_flag_ends_it(tmp_path: Path, arguments: list[str], word: str) -> None:
    line = refusal("--data-dir", str(tmp_path / "data"), *arguments)

    assert word in line.lower()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STARLING_PORT", "x"),
        ("STARLING_DATABASE_URL", "mysql://host/name"),
        ("STARLING_DATABASE_URL", "postgresql://u:p@[bad/name"),
        ("STARLING_DATABASE_URL", "sqlite://relative.sqlite"),
        ("STARLING_BLOB_URL", "file://relative/folder"),
        ("STARLING_BLOB_URL", "ftp://host/name"),
        ("STARLING_PUBLIC_URL", "host"),
        ("STARLING_MAX_UPLOAD_BYTES", "-1"),
        ("STARLING_PREDICT_TIMEOUT_SECONDS", "0"),
        ("STARLING_CHECK_TIMEOUT_SECONDS", "inf"),
        ("STARLING_SECRET", "short"),
        ("STARLING_DEBUG", "maybe"),
    ],
)
def test_a_bad_variable_ends_it(tmp_path: Path, name: str, value: str) -> None:
    line = refusal("--data-dir", str(tmp_path / "data"), environment={name: value})

    assert name in line


def test_a_taken_port_ends_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        line = refusal("--data-dir", str(tmp_path / "data"), "--port", port)

    assert port in line


@pytest.mark.parametrize("inside", [False, True])
def test_an_unwritable_data_directory_ends_it(tmp_path: Path, inside: bool) -> None:
    # A file in the way stops even root, who may write everywhere.
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    data_dir = in_the_way / "data" if inside else in_the_way

    line = refusal("--data-dir", str(data_dir), "--port", str(free_port()))

    assert str(data_dir) in line


def test_an_unreachable_database_ends_it(tmp_path: Path) -> None:
    url = f"postgresql://someone:secret-word@127.0.0.1:{free_port()}/starling"

    line = refusal(
        *("--data-dir", str(tmp_path / "data"), "--port", str(free_port())),
        environment={"STARLING_DATABASE_URL": url},
    )

    assert "database" in line.lower()
    assert "secret-word" not in line


def test_a_newer_database_schema_ends_it(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    server.stop()
    with contextlib.closing(sqlite3.connect(server.sqlite_path())) as connection, connection:
        connection.execute(
            "INSERT INTO migration (name, app_name, ran_on) "
            "SELECT '9999-12-31T00:00:00:000000', app_name, ran_on FROM migration LIMIT 1"
        )

    line = refusal("--data-dir", str(server.data_dir), "--port", str(free_port()))

    assert "newer" in line


def test_a_data_directory_in_use_ends_it(new_server: ServerMaker) -> None:
    server = new_server().start()
    server.wait_until_answers("/health/live", 200)

    line = refusal("--data-dir", str(server.data_dir), "--port", str(free_port()))

    assert str(server.data_dir) in line
    server.stop()


def test_sigterm_ends_the_embedded_cluster_too(new_server: ServerMaker) -> None:
    server = new_server(
        {"STARLING_RAY_DASHBOARD_PORT": str(free_port())}, shared_cluster=False
    ).start_and_wait()
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in family)

    server.stop()

    _, alive = psutil.wait_procs(family, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_it_starts_again_when_ray_dies_while_it_starts(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_RAY_DASHBOARD": "false"}, shared_cluster=False).start()
    process = psutil.Process(server.process.pid)
    # The head serves those that come up after it, and Ray waits for them, and for it.
    family = wait_until(lambda: len(process.children()) > 1 and process.children(), what="Ray")
    (head,) = [child for child in family if child.name() == "gcs_server"]
    head.kill()

    # Ray would end the process a minute later, and nobody would start another.
    server.wait_until_answers("/health/ready", 200)
    assert "it starts again" in server.log_text()
    assert "raylet" in {child.name() for child in process.children()}
    server.stop()


def test_sigterm_ends_it_before_it_is_ready(new_server: ServerMaker) -> None:
    server = new_server(shared_cluster=False).start()
    server.wait_until_answers("/health/live", 200)
    family = psutil.Process(server.process.pid).children(recursive=True)

    server.stop()

    _, alive = psutil.wait_procs(family, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
