"""Callbacks that are not what they say; genuine ones are in every training."""

import time

import httpx
import pytest

from compute.contract import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_callback

BODY = b'{"type":"round_failed","training_id":"x","round":0,"reason":"none"}'
NOW = str(int(time.time()))


@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [
        ("", ""),
        (NOW, ""),
        (NOW, "0" * 64),
        (NOW, "é"),
        (NOW, sign_callback("somebody else's secret", NOW, BODY)),
        ("9" * 400, "0" * 64),
        ("9" * 5_000, "0" * 64),
        ("-1", "0" * 64),
        ("²", "0" * 64),
    ],
    # Not by their values: two processes that share the suite must give every test the same name.
    ids=[
        *("unsigned", "only dated", "zeros", "not hexadecimal", "another's secret"),
        *("a far date", "no number of seconds", "before 1970", "no ASCII digit"),
    ],
)
def test_a_callback_that_is_not_signed_by_this_server_is_401(
    anonymous: httpx.Client, timestamp: str, signature: str
) -> None:
    headers = [
        (TIMESTAMP_HEADER.encode(), timestamp.encode("latin-1")),
        (SIGNATURE_HEADER.encode(), signature.encode("latin-1")),
    ]
    answer = anonymous.post("/internal/callbacks/", content=BODY, headers=headers)
    assert answer.status_code == 401
    assert "signature" in answer.json()["detail"]
