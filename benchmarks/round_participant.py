"""A participant that returns the model slightly changed: next to nothing but what is measured.

python -m benchmarks.round_participant --port 8000 --place 0 [--native] [--marks FILE] < TOKEN

It waits for its notifications, downloads the model, adds a little to each number and uploads it.
"""

import argparse
import http.client
import json
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np

from benchmarks.peer_scripts.layers import step
from benchmarks.peer_scripts.marks import mark

WAIT_SECONDS = 60
SAMPLE_SIZE = 100
BOUNDARY = "5tarling5tarling5tarling"
SAFETENSORS = "application/vnd.safetensors"

Parts = list[bytes | bytearray]


class Participant:
    """One connection, which is all that it needs.

    Args:
        place: Its number among the participants, from 0.
        native: Models as safetensors and nothing around them; else as forms of TorchScript.
    """

    def __init__(self, port: int, token: str, *, place: int, native: bool) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._authorization = {"Authorization": f"Token {token}"}
        self._native = native
        self._step = step(place)

    def take_part(self, marks: Path | None) -> None:
        """Answer every round until the training has finished; `marks`: say when they begin."""
        last = 0
        while True:
            path = f"/api/users/myself/notifications/?after={last}&wait={WAIT_SECONDS}"
            told = json.loads(self._ask("GET", path, 200))
            for item in told:
                last = item["id"]
                finished = item["notification_type"] == "TRAINING_FINISHED"
                if marks and (finished or item["notification_type"] == "UPDATE_ROUND_START"):
                    mark(marks)
                if finished:
                    return
                if item["notification_type"] == "UPDATE_ROUND_START":
                    self._train(item["body"]["global_model_uuid"], item["body"]["round"])

    def _train(self, model: str, round: int) -> None:
        path = f"/api/models/{model}/"
        if self._native:
            content = self._ask("GET", f"{path}?format=safetensors", 200)
            change_safetensors(content, self._step)
            target = f"{path}updates/{round}/?sample_size={SAMPLE_SIZE}"
            self._ask("PUT", target, 201, [content], SAFETENSORS)
        else:
            content = self._ask("GET", path, 200)
            change_archive(content, self._step)
            form = f"multipart/form-data; boundary={BOUNDARY}"
            self._ask("POST", path, 201, update_form(content, round), form)

    def _ask(
        self,
        method: str,
        path: str,
        status: int,
        parts: Iterable[bytes | bytearray] = (),
        media_type: str | None = None,
    ) -> bytearray:
        """The answer's body; ends the process with what it says where its status is another."""
        headers = dict(self._authorization)
        body = list(parts)
        if media_type:
            headers["Content-Type"] = media_type
            headers["Content-Length"] = str(sum(len(part) for part in body))
        self._connection.request(method, path, body=body or None, headers=headers)
        answer = self._connection.getresponse()
        if answer.status != status:
            sys.exit(f"{method} {path}: {answer.status} {answer.read()[:500]!r}")
        content = bytearray(answer.length or 0)
        view, at = memoryview(content), 0
        while at < len(content):
            received = answer.readinto(view[at:])
            if not received:
                sys.exit(f"{method} {path}: the connection broke")
            at += received
        answer.read()
        return content


def update_form(content: bytearray, round: int) -> Parts:
    """The parts of a form with an update."""
    fields = {"round": str(round), "sample_size": str(SAMPLE_SIZE)}
    opening = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    opening += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model_file"; filename="update.pt"'
        "\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    return [opening.encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()]


def change_safetensors(content: bytearray, step: np.float32) -> None:
    """Add `step` to each number of a file whose tensors are all float32, in place."""
    (header_bytes,) = struct.unpack_from("<Q", content)
    numbers = np.frombuffer(content, dtype=np.float32, offset=8 + header_bytes)
    numbers += step


def change_archive(content: bytearray, step: np.float32) -> None:
    """Add `step` to each number of a torch archive whose tensors are all float32, in place."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        entries = archive.infolist()
        directory = archive.start_dir
    for entry in entries:
        name_bytes, extra_bytes = struct.unpack_from("<HH", content, entry.header_offset + 26)
        if re.search(r"/data/\d+$", entry.filename):
            start = entry.header_offset + 30 + name_bytes + extra_bytes
            data = memoryview(content)[start : start + entry.file_size]
            numbers = np.frombuffer(data, dtype=np.float32)
            numbers += step
            checksum = struct.pack("<I", zlib.crc32(data))
            _replace_checksum(content, entry, directory, start + entry.file_size, checksum)
        directory += 46 + sum(struct.unpack_from("<HHH", content, directory + 28))


def _replace_checksum(
    content: bytearray, entry: zipfile.ZipInfo, directory: int, end: int, checksum: bytes
) -> None:
    """In the local header or the descriptor after the data, and in the central directory."""
    described = entry.flag_bits & 0x08
    # A descriptor begins with a signature of its own.
    at = end + 4 if described else entry.header_offset + 14
    content[at : at + 4] = checksum
    content[directory + 16 : directory + 20] = checksum


def main() -> None:
    """Take part in one training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--place", type=int, required=True)
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--marks", type=Path)
    options = parser.parse_args()
    token = sys.stdin.readline().strip()
    try:
        participant = Participant(options.port, token, place=options.place, native=options.native)
        participant.take_part(options.marks)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"The server does not answer: {error!r}")


if __name__ == "__main__":
    main()
