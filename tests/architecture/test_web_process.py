"""The web process never loads torch: it starts in a second and stays small."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

FORBIDDEN = ("torch", "torchvision")
# What only a server needs.
UNUSED = (*FORBIDDEN, "litestar", "uvicorn", "httpx", "ray")


def test_importing_the_application_loads_no_torch() -> None:
    program = (
        "import sys, backend.cli, backend.server, backend.simulation.commands\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("commands", ["backend.users.commands", "backend.audit.commands"])
def test_a_command_on_the_database_loads_no_web_framework(commands: str) -> None:
    program = (
        f"import sys, backend.cli, {commands}\n"
        f"print([name for name in {UNUSED!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_running_server_has_no_torch_library_mapped(server: Server) -> None:
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "python" in mapped
    assert "libtorch" not in mapped
