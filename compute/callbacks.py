"""Signed, retried HTTP callbacks from a compute worker to the backend."""

import functools
import logging
import ssl
import time
from http import HTTPStatus

import httpx
import msgspec
import stamina

from compute.contract import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Callback,
    CallbackTarget,
    sign_callback,
)

logger = logging.getLogger(__name__)

GIVE_UP_AFTER_SECONDS = 300.0
ATTEMPT_TIMEOUT_SECONDS = 30.0


class CallbackRefused(Exception):
    """The backend answered that it does not take this callback; repeating it would not help."""


class CallbackUndelivered(Exception):
    """The backend could not be reached for `GIVE_UP_AFTER_SECONDS`."""


class _TryAgainError(Exception):
    """This attempt failed in a way that the next may not."""


def deliver(
    target: CallbackTarget,
    callback: Callback,
    *,
    give_up_after_seconds: float = GIVE_UP_AFTER_SECONDS,
) -> None:
    """POST the callback until the backend has taken it, or says that its round is no longer open.

    2xx, 409 and 410 end it. Connection errors, 429 and 5xx are retried with exponential backoff and
    jitter; each attempt is signed anew, since signatures age.

    Raises:
        CallbackRefused: any other answer.
        CallbackUndelivered: no attempt succeeded in `give_up_after_seconds`.
    """
    body = msgspec.json.encode(callback)
    # No proxies or certificates from the environment: the backend's URL is used as it is.
    with httpx.Client(
        timeout=ATTEMPT_TIMEOUT_SECONDS, trust_env=False, verify=_tls(target.url)
    ) as client:
        try:
            for attempt in stamina.retry_context(
                on=_TryAgainError,
                attempts=None,
                timeout=give_up_after_seconds,
                wait_initial=0.1,
                wait_max=10.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    _post(client, target, body)
        except _TryAgainError as error:
            message = f"{target.url} did not take the callback: {error}"
            raise CallbackUndelivered(message) from error


def _tls(url: str) -> ssl.SSLContext:
    """What the server has to prove; certificates are not loaded where there are none to check."""
    return _trust_public() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.cache
def _trust_public() -> ssl.SSLContext:
    # It takes longer to make than most rounds take to be taken.
    return httpx.create_ssl_context(trust_env=False)


def _post(client: httpx.Client, target: CallbackTarget, body: bytes) -> None:
    timestamp = str(int(time.time()))
    headers = {
        "content-type": "application/json",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign_callback(target.secret, timestamp, body),
    }
    try:
        response = client.post(target.url, content=body, headers=headers)
    except httpx.TransportError as error:
        raise _TryAgainError(str(error) or type(error).__name__) from error
    status = response.status_code
    if response.is_success:
        return
    if status in {HTTPStatus.CONFLICT, HTTPStatus.GONE}:
        logger.info("The round is no longer open: %d from %s", status, target.url)
        return
    if response.is_server_error or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise _TryAgainError(str(status))
    message = f"{target.url} answered {status}: {response.text[:200]}"
    raise CallbackRefused(message)
