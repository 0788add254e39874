"""The demo's watch over its processes; here each of these is a mere web server."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from examples.digits.children import DemoFailed, start_module
from examples.digits.demo import guarded


@pytest.mark.parametrize("dying", ["server", "participant-1", "participant-2"])
async def test_whichever_process_dies_ends_the_work_and_is_named(
    tmp_path: Path, dying: str
) -> None:
    work = asyncio.Event()
    async with AsyncExitStack() as stack:
        children = {}
        for name in ("server", "participant-1", "participant-2"):
            arguments = ("--bind", "127.0.0.1", "0")
            log = tmp_path / f"{name}.log"
            children[name] = await start_module("http.server", *arguments, name=name, log=log)
            stack.push_async_callback(children[name].stop)
        guarding = asyncio.create_task(guarded(work.wait(), list(children.values())))
        children[dying].kill()
        with pytest.raises(DemoFailed, match=f"^{dying} ended with code -9"):
            await guarding
        assert [name for name, child in children.items() if child.process.returncode] == [dying]
    assert all(child.process.returncode for child in children.values())
