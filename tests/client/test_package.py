"""What `import starling_client` brings, and what it leaves until it is wanted."""

import subprocess
import sys

import starling_client


def test_every_public_name_is_there() -> None:
    names = starling_client.__all__
    assert [getattr(starling_client, name).__name__.rpartition(".")[2] for name in names] == names
    assert set(names) <= set(dir(starling_client))


def test_another_name_is_not() -> None:
    assert not hasattr(starling_client, "leave")


def test_the_command_that_registers_a_user_loads_no_torch() -> None:
    program = "import sys, starling_client.command_line; print('torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "False\n"
