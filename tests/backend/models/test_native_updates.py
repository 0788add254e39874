"""Updates that are the whole body: safetensors, in full or fewer bits, plain or compressed."""

import base64
import hashlib
import socket
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import httpx
import pytest
import safetensors.torch
import torch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from compute.contract import TensorEncoding
from compute.encodings import METADATA_KEY, decoded, encoded
from tests.federations import Federation, MakeFederation, Person
from tests.model_files import (
    Weights,
    assert_within_one_ulp,
    drifted,
    federated_average,
    tiny,
    torchscript,
)
from tests.servers import Holdings, Server

SAFETENSORS = "application/vnd.safetensors"
State = dict[str, torch.Tensor]


def trained(seed: int) -> State:
    return dict(drifted(tiny(), seed=seed).state_dict())


@pytest.fixture(scope="module")
def update() -> bytes:
    return safetensors.torch.save(trained(1))


def put(
    federation: Federation,
    person: Person,
    content: bytes,
    *,
    round: int | str = 0,
    headers: dict[str, str] | None = None,
    **query: str | list[str],
) -> httpx.Response:
    return person.client.put(
        f"/api/models/{federation.model_id}/updates/{round}/",
        params={"sample_size": "10", **query},
        content=content,
        headers={"Content-Type": SAFETENSORS} if headers is None else headers,
    )


def as_arrays(state: State) -> Weights:
    return OrderedDict((name, tensor.numpy().copy()) for name, tensor in state.items())


def digest_header(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def assert_nothing_new(server: Server, federation: Federation, before: Holdings) -> None:
    assert server.holdings().new_since(before) == {}
    assert federation.training()["local_models_arrived"] == 0


def test_an_update_is_counted_with_its_size_and_metrics(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    participant = federation.participants[0]

    answer = put(
        federation,
        participant,
        update,
        sample_size="37",
        metric_names=["loss", "accuracy"],
        metric_values=["0.5", "0.75"],
    )

    assert answer.status_code == 201, answer.text
    assert answer.json() == {"detail": "Model Update Accepted"}
    assert federation.training()["local_models_arrived"] == 1
    (local,) = (
        model
        for model in participant.client.get("/api/models/").json()
        if model["id"] != federation.model_id
    )
    assert (local["round"], local["sample_size"]) == (0, 37)
    assert participant.client.get(f"/api/models/{local['id']}/").content == update
    metrics = participant.client.get(f"/api/models/{local['id']}/metrics/").json()
    assert [(one["key"], one["value_float"]) for one in metrics] == [
        ("loss", 0.5),
        ("accuracy", 0.75),
    ]


def test_native_and_form_uploads_are_averaged_together(make_federation: MakeFederation) -> None:
    federation = make_federation(rounds=1, options={"skip_model_tests": True})
    first, second = federation.participants

    assert put(federation, first, safetensors.torch.save(trained(1)), sample_size="3").is_success
    script = torchscript(drifted(tiny(), seed=2))
    assert federation.upload(second, script, sample_size=5).is_success

    federation.told(federation.actor, "TRAINING_FINISHED")
    expected = federated_average([(3, as_arrays(trained(1))), (5, as_arrays(trained(2)))])
    assert_within_one_ulp(federation.weights(), expected)


def test_the_same_bytes_again_are_taken_and_others_are_a_409(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    participant = federation.participants[0]
    assert put(federation, participant, update).status_code == 201
    before = server.holdings()

    assert put(federation, participant, update).status_code == 201
    # The form and the compressed body bring the same update too.
    assert federation.upload(participant, update).status_code == 201
    compressed = {"Content-Type": SAFETENSORS, "Content-Encoding": "zstd"}
    assert put(federation, participant, zstd.compress(update), headers=compressed).is_success
    other = put(federation, participant, safetensors.torch.save(trained(2)))
    of_another_size = put(federation, participant, update, sample_size="11")

    assert (other.status_code, of_another_size.status_code) == (409, 409)
    assert federation.training()["local_models_arrived"] == 1
    assert server.holdings().new_since(before) == {}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param({"sample_size": "0"}, "sample_size", id="no-samples"),
        pytest.param({"sample_size": "x"}, "sample_size", id="samples-of-text"),
        pytest.param({"sample_size": "9" * 40}, "sample_size", id="huge-samples"),
        pytest.param({"metric_names": ["a"]}, "metric_values", id="names-without-values"),
        pytest.param(
            {"metric_names": ["k" * 33], "metric_values": ["1"]}, "metric_names", id="long-metric"
        ),
    ],
)
def test_a_bad_parameter_is_named_and_nothing_is_stored(
    server: Server,
    make_federation: MakeFederation,
    update: bytes,
    query: dict[str, str | list[str]],
    field: str,
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = put(federation, federation.participants[0], update, **query)

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert_nothing_new(server, federation, before)


def test_the_sample_size_is_required(make_federation: MakeFederation, update: bytes) -> None:
    federation = make_federation()
    path = f"/api/models/{federation.model_id}/updates/0/"
    answer = federation.participants[0].client.put(path, content=update)
    assert answer.status_code == 400
    assert "sample_size" in answer.json()["detail"]


def test_who_may_not_deliver_is_told_so(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    before = server.holdings()

    stranger = put(federation, federation.actor, update)
    early = put(federation, federation.participants[0], update, round=1)
    negative = put(federation, federation.participants[0], update, round=-1)

    assert (stranger.status_code, early.status_code, negative.status_code) == (403, 400, 400)
    assert_nothing_new(server, federation, before)


def test_who_waits_to_be_asked_for_the_body_need_not_send_it_in_vain(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation()

    with asking(server, federation, federation.participants[0]) as wanted:
        assert b" 100 " in wanted.readline()
    with asking(server, federation, federation.actor) as refused:
        answer = refused.read()  # until the server closes

    assert b" 403 " in answer.partition(b"\r\n")[0]
    assert b"connection: close" in answer.lower()


@contextmanager
def asking(server: Server, federation: Federation, person: Person) -> Iterator[BinaryIO]:
    """What is answered to the head of an upload, whose sender waits to be asked for the body."""
    head = (
        f"PUT /api/models/{federation.model_id}/updates/0/?sample_size=1 HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: Token {person.token}\r\n"
        "Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(head.encode())
        yield answer


def test_a_late_update_is_told_which_round_is_open(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation(participants=1, rounds=2, options={"skip_model_tests": True})
    participant = federation.participants[0]
    assert put(federation, participant, update).is_success
    federation.wait_for_round(1)

    late = put(federation, participant, safetensors.torch.save(trained(3)))

    assert late.status_code == 409


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b"no model at all", "not a model", id="text"),
        pytest.param(
            safetensors.torch.save({"w": torch.ones(2)}), "Tensor 0.weight is missing", id="another"
        ),
        pytest.param(
            safetensors.torch.save({k: v * torch.nan for k, v in trained(1).items()}),
            "Tensor",
            id="not-finite",
        ),
        pytest.param(
            safetensors.torch.save(
                {k: v.bfloat16() if v.is_floating_point() else v for k, v in trained(1).items()}
            ),
            "dtype bfloat16",
            id="fewer-bits-unannounced",
        ),
    ],
)
def test_what_is_no_update_of_the_model_is_refused(
    server: Server, make_federation: MakeFederation, content: bytes, says: str
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = put(federation, federation.participants[0], content)

    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert "body" in answer.json()["errors"]
    assert_nothing_new(server, federation, before)


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "multipart/form-data"])
def test_another_media_type_is_a_415(
    make_federation: MakeFederation, update: bytes, media_type: str
) -> None:
    federation = make_federation()
    headers = {"Content-Type": media_type}
    answer = put(federation, federation.participants[0], update, headers=headers)
    assert answer.status_code == 415
    assert "octet-stream" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
def test_a_digest_is_held_against_what_arrives(
    server: Server, make_federation: MakeFederation, update: bytes, header: str
) -> None:
    federation = make_federation()
    participant = federation.participants[0]
    before = server.holdings()

    wrong = put(federation, participant, update, headers={header: digest_header(b"other")})
    malformed = put(federation, participant, update, headers={header: "sha-256=:abc:"})
    for answer in (wrong, malformed):
        assert answer.status_code == 400
        assert header in answer.json()["errors"]
    assert_nothing_new(server, federation, before)

    right = {header: f"sha-512=:AAAA:, {digest_header(update)}"}
    assert put(federation, participant, update, headers=right).status_code == 201


def test_a_compressed_update_is_the_update(make_federation: MakeFederation, update: bytes) -> None:
    federation = make_federation()
    participant = federation.participants[0]
    body = zstd.compress(update)
    # A digest is of the bytes that are sent.
    headers = {"Content-Encoding": "zstd", "Content-Digest": digest_header(body)}

    wrong = put(
        federation, participant, body, headers={**headers, "Content-Digest": digest_header(update)}
    )
    right = put(federation, participant, body, headers=headers)

    assert (wrong.status_code, right.status_code) == (400, 201)
    (local,) = (
        model
        for model in participant.client.get("/api/models/").json()
        if model["id"] != federation.model_id
    )
    assert participant.client.get(f"/api/models/{local['id']}/").content == update


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        pytest.param(zstd.compress(bytes(200 * 1024**2)), "zstd", 413, id="bomb"),
        pytest.param(zstd.compress(bytes(1000))[:-3], "zstd", 400, id="cut-off"),
        pytest.param(b"rubbish", "zstd", 400, id="rubbish"),
        pytest.param(b"anything", "gzip", 415, id="another-coding"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused_and_leaves_nothing(
    server: Server, make_federation: MakeFederation, body: bytes, coding: str, status: int
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = put(federation, federation.participants[0], body, headers={"Content-Encoding": coding})

    assert answer.status_code == status
    assert "ontent-" in answer.json()["detail"] or "unfolds" in answer.json()["detail"]
    assert_nothing_new(server, federation, before)


@pytest.mark.parametrize("encoding", list(TensorEncoding), ids=str)
def test_an_update_in_fewer_bits_is_averaged_as_what_it_decodes_to(
    make_federation: MakeFederation, encoding: TensorEncoding
) -> None:
    federation = make_federation(rounds=1, options={"skip_model_tests": True})
    first, second = federation.participants
    tensors, table = encoded(trained(1), encoding)
    body = safetensors.torch.save(tensors, {METADATA_KEY: table})

    assert put(federation, first, body, sample_size="3").status_code == 201
    assert put(federation, first, body, sample_size="3").status_code == 201
    full = safetensors.torch.save(trained(2))
    assert put(federation, second, full, sample_size="5").status_code == 201

    federation.told(federation.actor, "TRAINING_FINISHED")
    meant = as_arrays(decoded(tensors, {METADATA_KEY: table}))
    expected = federated_average([(3, meant), (5, as_arrays(trained(2)))])
    assert_within_one_ulp(federation.weights(), expected)
