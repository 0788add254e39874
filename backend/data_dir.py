"""The data directory of a server: made, locked against a second server, with its secret."""

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from backend.errors import StartupError

SECRET_FILE = "secret"  # noqa: S105 - a file name


class DataDirInUse(StartupError):
    """Another server holds the lock of the data directory."""


class DataDir:
    """An open data directory; holds its lock until the process ends or `close` is called."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    def close(self) -> None:
        """Let another server have the directory."""
        self._lock.close()

    def secret(self) -> str:
        """The key that signs tokens and callbacks; made on first use, for its owner's eyes only."""
        if not (self.path / SECRET_FILE).exists():
            write_private(self.path / SECRET_FILE, secrets.token_urlsafe(48))
        return read_secret(self.path)


def open_data_dir(path: Path) -> DataDir:
    """The data directory at `path`, created if needed.

    Raises:
        StartupError: it cannot be written.
        DataDirInUse: another server uses it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (path / "lock").open("w")
    except OSError as error:
        raise StartupError(
            f"The data directory {path} cannot be written: {error.strerror}. "
            "Choose another with --data-dir."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataDirInUse(f"Another Starling server uses the data directory {path}.") from error
    return DataDir(path, lock)


def read_secret(path: Path) -> str:
    """The key of the data directory at `path`, which a server may be using.

    Raises:
        StartupError: there is none yet.
    """
    try:
        return (path / SECRET_FILE).read_text().strip()
    except OSError as error:
        raise StartupError(
            f"The data directory {path} has no secret that can be read: {error.strerror}."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file that only its owner can read, all of it or nothing."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
