"""Resumable uploads: the tus protocol, and forms that take a finished upload for a file."""

import base64
import concurrent.futures
import hashlib
import os
import socket
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from backend.uploads.service import MAX_UPLOADS_PER_USER
from tests.conftest import ServerMaker
from tests.federations import MakeFederation, People, Person, accepted_model
from tests.model_files import drifted, tiny, tiny_file, torchscript
from tests.servers import Server
from tests.waiting import wait_until

CONTENT = torchscript(drifted(tiny(), seed=1))
MEDIA_TYPE = "application/offset+octet-stream"


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user()


def begin(person: Person, size: int) -> str:
    """Path of a new upload."""
    answer = person.client.post(
        "/api/uploads/", headers={"Upload-Length": str(size), "Tus-Resumable": "1.0.0"}
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/uploads/{answer.json()['id']}/"
    return answer.headers["Location"]


def append(
    person: Person, path: str, offset: int, content: bytes, **headers: str
) -> httpx.Response:
    return person.client.patch(
        path,
        content=content,
        headers={"Upload-Offset": str(offset), "Content-Type": MEDIA_TYPE, **headers},
    )


def uploaded(person: Person, content: bytes) -> str:
    """Id of a finished upload."""
    path = begin(person, len(content))
    assert append(person, path, 0, content).status_code == 204
    return path.rsplit("/", 2)[1]


def offset(person: Person, path: str) -> int:
    answer = person.client.head(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


def test_options_tell_what_the_server_speaks_without_credentials(
    anonymous: httpx.Client,
) -> None:
    answer = anonymous.options("/api/uploads/")

    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        *("creation", "expiration", "termination", "checksum"),
    }
    assert "sha1" in answer.headers["Tus-Checksum-Algorithm"].split(",")
    assert int(answer.headers["Tus-Max-Size"]) == 4 * 1024**3


def test_an_upload_in_pieces_is_the_file(person: Person) -> None:
    path = begin(person, len(CONTENT))
    half = len(CONTENT) // 2

    first = append(person, path, 0, CONTENT[:half])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(half))
    assert first.headers["Tus-Resumable"] == "1.0.0"
    expires = parsedate_to_datetime(first.headers["Upload-Expires"])
    assert timedelta(hours=23) < expires - datetime.now(UTC) <= timedelta(hours=24)
    assert offset(person, path) == half
    assert append(person, path, half, CONTENT[half:]).headers["Upload-Offset"] == str(len(CONTENT))

    form = {"name": "n", "description": "d", "model_file_upload": path.rsplit("/", 2)[1]}
    made = person.client.post("/api/models/", data=form)
    assert made.status_code == 201, made.text
    model = person.client.get(f"/api/models/{made.json()['model_id']}/")
    assert model.content == CONTENT
    assert person.client.delete(path).status_code == 204
    assert person.client.get(path).status_code == 404
    # What was made of it stays.
    assert person.client.get(f"/api/models/{made.json()['model_id']}/").content == CONTENT


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Upload-Offset": "0"}, 409, "at 3"),
        ({"Upload-Offset": "4"}, 409, "at 3"),
        ({"Upload-Offset": "-1"}, 400, "Upload-Offset"),
        ({"Upload-Offset": "x"}, 400, "Upload-Offset"),
        ({"Content-Type": "application/octet-stream"}, 415, MEDIA_TYPE),
        ({"Upload-Checksum": "crc32 AAAA"}, 400, "sha1"),
        ({"Upload-Checksum": "sha1 ä".encode("latin-1").decode("latin-1")}, 400, "Base64"),
        ({"Upload-Checksum": "sha1 AAAA"}, 460, "Upload-Checksum"),
        ({"Tus-Resumable": "0.2.2"}, 412, "1.0.0"),
    ],
)
def test_a_piece_that_does_not_fit_is_refused_and_not_kept(
    person: Person, headers: dict[str, str], status: int, word: str
) -> None:
    path = begin(person, 10)
    append(person, path, 0, b"abc")

    answer = person.client.patch(
        path,
        content=b"defg",
        headers={
            key: value.encode("latin-1")
            for key, value in {"Upload-Offset": "3", "Content-Type": MEDIA_TYPE, **headers}.items()
        },
    )

    assert answer.status_code == status, answer.text
    assert word in answer.json()["detail"]
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert offset(person, path) == 3


def test_a_piece_with_its_checksum_is_kept(person: Person) -> None:
    path = begin(person, 4)
    for at, piece, algorithm in ((0, b"ab", "sha1"), (2, b"cd", "sha256")):
        digest = base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()
        answer = append(person, path, at, piece, **{"Upload-Checksum": f"{algorithm} {digest}"})
        assert answer.status_code == 204
    assert offset(person, path) == 4


def test_more_than_was_announced_is_refused(person: Person) -> None:
    path = begin(person, 3)

    answer = append(person, path, 0, b"abcd")

    assert answer.status_code == 413
    assert offset(person, path) <= 3


def test_an_upload_larger_than_the_server_takes_is_refused(person: Person) -> None:
    for size in (4 * 1024**3 + 1, 2**62):
        answer = person.client.post("/api/uploads/", headers={"Upload-Length": str(size)})
        assert answer.status_code == 413, answer.text
    for size in ("-1", "many", str(2**63), ""):
        answer = person.client.post("/api/uploads/", headers={"Upload-Length": size})
        assert answer.status_code == 400, answer.text
        assert "Upload-Length" in answer.json()["detail"]


def test_post_stands_in_for_methods_that_a_network_does_not_let_through(person: Person) -> None:
    path = begin(person, 2)

    answer = person.client.post(
        path,
        content=b"ab",
        headers={
            "X-HTTP-Method-Override": "PATCH",
            "Upload-Offset": "0",
            "Content-Type": MEDIA_TYPE,
        },
    )

    assert answer.status_code == 204
    deleted = person.client.post(path, headers={"X-HTTP-Method-Override": "DELETE"})
    assert deleted.status_code == 204
    # Elsewhere the header means nothing.
    other = person.client.post("/api/models/", headers={"X-HTTP-Method-Override": "DELETE"})
    assert other.status_code != 405


def send_partly(server: Server, person: Person, path: str, size: int, sent: bytes) -> socket.socket:
    """A connection on which a PATCH of `size` bytes has sent only these."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {person.token}\r\n"
        f"Upload-Offset: 0\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {size}\r\n\r\n"
    )
    connection.sendall(head.encode() + sent)
    return connection


def test_what_arrived_before_a_connection_broke_is_kept(server: Server, person: Person) -> None:
    path = begin(person, 10_000_000)
    sent = os.urandom(3_000_000)

    with send_partly(server, person, path, 10_000_000, sent):
        wait_until(lambda: offset(person, path) >= 2_000_000, what="most of it")
    at = wait_until(
        lambda: offset(person, path) == len(sent) and len(sent), what="the rest of what was sent"
    )

    assert append(person, path, at, bytes(10_000_000 - at)).status_code == 204


def test_a_second_sender_is_refused_while_the_first_one_sends(
    server: Server, person: Person
) -> None:
    path = begin(person, 3_000_000)
    with send_partly(server, person, path, 3_000_000, bytes(1_500_000)):
        wait_until(lambda: offset(person, path), what="a beginning")
        answer = append(person, path, offset(person, path), b"x")
    assert answer.status_code == 423
    assert "Retry-After" in answer.headers


def test_of_many_senders_at_once_one_wins(server: Server, person: Person) -> None:
    path = begin(person, 8 * 4096)
    pieces = [bytes([k]) * 4096 for k in range(8)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda piece: append(person, path, 0, piece), pieces))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {409, 423}
    assert offset(person, path) == 4096


def test_the_offset_survives_a_crash(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    person = people()
    path = begin(person, len(CONTENT))
    append(person, path, 0, CONTENT[:1000])
    with send_partly(server, person, begin(person, 9_000_000), 9_000_000, bytes(2_000_000)):
        server.kill()
    people.close()

    server.start_and_wait()
    with server.client() as client:
        client.headers["Authorization"] = f"Token {person.token}"
        again = Person(person.id, person.username, person.password, person.token, {}, client)
        assert offset(again, path) == 1000
        assert append(again, path, 1000, CONTENT[1000:]).status_code == 204
        made = accepted_model_of(again, path.rsplit("/", 2)[1])
        assert client.get(f"/api/models/{made}/").content == CONTENT
    server.stop()


def accepted_model_of(person: Person, upload_id: str) -> str:
    form = {"name": "n", "description": "d", "model_file_upload": upload_id}
    answer = person.client.post("/api/models/", data=form)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


def test_finished_uploads_make_room_and_unfinished_ones_do_not(person: Person) -> None:
    first = uploaded(person, b"first")
    second = uploaded(person, b"second")
    unfinished = [begin(person, 1) for _ in range(MAX_UPLOADS_PER_USER - 2)]

    begin(person, 1)
    assert person.client.get(f"/api/uploads/{first}/").status_code == 404
    assert person.client.get(f"/api/uploads/{second}/").status_code == 200
    begin(person, 1)
    refused = person.client.post("/api/uploads/", headers={"Upload-Length": "1"})

    assert refused.status_code == 409
    assert all(person.client.head(path).status_code == 200 for path in unfinished)
    person.client.delete(unfinished[0])
    begin(person, 1)


def test_an_update_by_upload_may_be_sent_again_when_its_answer_was_lost(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(rounds=1)
    participant, other = federation.participants
    path = f"/api/models/{federation.model_id}/"
    form = {"round": "0", "sample_size": "10", "model_file_upload": uploaded(participant, CONTENT)}
    # A refused request does not use it up.
    refused = participant.client.post(path, data={**form, "sample_size": "0"})
    answers = [participant.client.post(path, data=form) for _ in range(2)]

    assert refused.status_code == 400
    assert [answer.status_code for answer in answers] == [201, 201], answers[1].text
    # The same bytes by multipart are the same update, other ones are not.
    assert federation.upload(participant, CONTENT).status_code == 201
    assert federation.upload(participant, tiny_file()).status_code == 409
    foreign = other.client.post(path, data=form)
    assert (foreign.status_code, "model_file_upload" in foreign.json()["detail"]) == (400, True)


def test_both_files_of_a_form_may_be_uploads(person: Person) -> None:
    form = {
        "name": "n",
        "description": "d",
        "model_file_upload": uploaded(person, CONTENT),
        "model_preprocessing_file_upload": uploaded(person, tiny_file()),
    }
    made = person.client.post("/api/models/", data=form)

    assert made.status_code == 201, made.text
    preprocessing = person.client.get(f"/api/models/{made.json()['model_id']}/preprocessing/")
    assert preprocessing.content == tiny_file()


@pytest.mark.parametrize("given", ["", "no-id", "00000000-0000-0000-0000-000000000000"])
def test_an_upload_that_is_not_there_is_named(person: Person, given: str) -> None:
    form = {"name": "n", "description": "d", "model_file_upload": given}

    answer = person.client.post("/api/models/", data=form)

    assert answer.status_code == 400
    assert "model_file_upload" in answer.json()["errors"]


def test_an_unfinished_upload_and_one_beside_a_file_are_refused(
    server: Server, person: Person
) -> None:
    unfinished = begin(person, 10).rsplit("/", 2)[1]
    finished = uploaded(person, CONTENT)
    model_id = accepted_model(person)
    before = server.holdings()
    form = {"name": "n", "description": "d"}
    file = {"model_file": ("m", CONTENT)}

    answers = [
        person.client.post("/api/models/", data={**form, "model_file_upload": unfinished}),
        person.client.post(
            "/api/models/", data={**form, "model_file_upload": finished}, files=file
        ),
        person.client.post("/api/models/", data={**form, "x_upload": finished}, files=file),
        person.client.post(f"/api/models/{model_id}/metrics/", data={"x_upload": finished}),
    ]

    assert [answer.status_code for answer in answers] == [400] * 4, [a.text for a in answers]
    assert "0 of the 10 bytes" in answers[0].json()["detail"]
    assert server.holdings().new_since(before) == {}
