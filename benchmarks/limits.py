"""What the machine allows: memory bandwidth, disk and hashing, measured beside what uses them."""

import hashlib
import os
import socket
import threading
import time
from pathlib import Path

import torch


def add_seconds(parameters: int, accumulator: torch.dtype, *, vectors: int = 1) -> float:
    """Adding a flat float32 vector into a flat accumulator in place, all threads that torch has.

    It moves 4 bytes of the update and twice those of the accumulator per parameter: 12 for a
    float32 accumulator. (For a float64 one, torch makes a temporary vector.)

    Args:
        vectors: So many different ones are added; the seconds are the mean of one. With several,
            none is still in a cache from the last time.
    """
    total = torch.zeros(parameters, dtype=accumulator)
    updates = [torch.ones(parameters, dtype=torch.float32) for _ in range(vectors)]
    torch.add(total, updates[0], alpha=1.0, out=total)
    started = time.perf_counter()
    for update in updates:
        torch.add(total, update, alpha=1.0, out=total)
    return (time.perf_counter() - started) / vectors


def pinned_copy_seconds(size_bytes: int, device: torch.device) -> float:
    """Copying so many bytes from pinned memory to a GPU, in pieces of at most 256 MiB."""
    piece_bytes = min(size_bytes, 256 * 1024**2)
    pinned = torch.ones(piece_bytes, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(piece_bytes, dtype=torch.uint8, device=device)
    there.copy_(pinned)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for offset in range(0, size_bytes, piece_bytes):
        part = min(piece_bytes, size_bytes - offset)
        there[:part].copy_(pinned[:part], non_blocking=True)
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def write_seconds(content: bytes, folder: Path) -> float:
    """Writing the bytes to a new file and having them on disk (fsync of the file)."""
    path = folder / "limit"
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return seconds


def hash_seconds(content: bytes) -> float:
    """SHA-256 of the bytes, on one core."""
    started = time.perf_counter()
    hashlib.sha256(content).digest()
    return time.perf_counter() - started


def loopback_seconds(size_bytes: int) -> float:
    """Sending so many bytes over one loopback connection to a thread that drops them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = threading.Thread(target=_drop, args=(server,))
        reader.start()
        chunk = memoryview(bytes(1024**2))
        with socket.create_connection(server.getsockname()) as connection:
            started = time.perf_counter()
            for sent in range(0, size_bytes, len(chunk)):
                connection.sendall(chunk[: size_bytes - sent])
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            seconds = time.perf_counter() - started
        reader.join()
    return seconds


def _drop(server: socket.socket) -> None:
    connection, _ = server.accept()
    buffer = bytearray(1024**2)
    with connection:
        while connection.recv_into(buffer):
            continue
