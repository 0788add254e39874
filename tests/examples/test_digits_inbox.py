"""A participant's webhook endpoint, over real HTTP."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from examples.digits.inbox import MAX_NOTIFICATION_BYTES, Inbox


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


def post(inbox: Inbox, **content: object) -> int:
    url = f"http://127.0.0.1:{inbox.port}/"
    return httpx.post(url, **content).status_code  # type: ignore[arg-type]


def round_start(number: int) -> dict[str, object]:
    return {
        "notification_type": "UPDATE_ROUND_START",
        "training_uuid": "0b30b106-ef16-428a-939e-a43612da87b7",
        "body": {"round": number, "global_model_uuid": "m", "a_later_version": "adds fields"},
    }


def test_notifications_are_accepted_at_once_and_come_out_in_order(inbox: Inbox) -> None:
    assert [post(inbox, json=round_start(number)) for number in range(3)] == [202] * 3
    taken = [inbox.next() for _ in range(3)]
    assert [notification.body.round for notification in taken] == [0, 1, 2]
    assert {notification.notification_type for notification in taken} == {"UPDATE_ROUND_START"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"training_uuid": "x"}'])
def test_what_is_no_notification_is_refused_and_not_queued(inbox: Inbox, body: bytes) -> None:
    assert post(inbox, content=body) == 400
    assert post(inbox, json=round_start(7)) == 202
    assert inbox.next().body.round == 7


def test_a_huge_body_is_refused_before_it_is_sent(inbox: Inbox) -> None:
    with socket.create_connection(("127.0.0.1", inbox.port), timeout=10) as connection:
        length = MAX_NOTIFICATION_BYTES + 1
        connection.sendall(f"POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n".encode())
        assert b" 413 " in connection.makefile("rb").readline()
