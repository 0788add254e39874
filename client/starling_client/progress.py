"""Progress bars of large transfers, where somebody looks at a terminal."""

import sys
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# Less is there before a bar could be read.
LEAST_BYTES = 4 * 1024**2


class TransferBar:
    """A bar on stderr while it is entered; nothing for small transfers and where no terminal is."""

    def __init__(self, label: str, size_bytes: int) -> None:
        self._progress: Progress | None = None
        if size_bytes >= LEAST_BYTES and sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._progress.add_task(label, total=size_bytes)

    def reach(self, transferred_bytes: int) -> None:
        """So many bytes of it are done, from the beginning."""
        if self._progress is not None:
            self._progress.update(self._task, completed=transferred_bytes)

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
