"""One attempt to deliver a notification: a signed POST, and a sentence on why it failed.

The sentence is shown to the actor of a training, so it says nothing about the server's network that
the URL does not say.
"""

import asyncio
import ssl
from collections.abc import Iterator

import httpx

from backend.security.webhook_signatures import signature_headers
from backend.security.webhook_targets import RefusedTarget, UnknownName

TIMEOUT_SECONDS = 10.0
# An endpoint that dribbles never runs into the timeout of a single read.
DELIVERY_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024

# The first kind that fits; each is followed by those that it is a kind of.
_SENTENCES: dict[type[Exception], str] = {
    httpx.InvalidURL: "Its URL cannot be used.",
    httpx.UnsupportedProtocol: "Its URL cannot be used.",
    httpx.ConnectTimeout: f"It took no connection within {TIMEOUT_SECONDS:g} seconds.",
    httpx.ConnectError: "It takes no connections.",
    httpx.TimeoutException: f"It did not answer for {TIMEOUT_SECONDS:g} seconds.",
    httpx.RemoteProtocolError: "It did not answer in HTTP, or broke off.",
    httpx.HTTPError: "The connection broke off.",
}


async def post(
    client: httpx.AsyncClient,
    url: str,
    payload: bytes,
    *,
    message_id: str,
    webhook_secret: str,
    timestamp: int,
) -> str | None:
    """Why the payload did not arrive; None when it did. Ends within `DELIVERY_SECONDS`."""
    headers = {
        "content-type": "application/json",
        **signature_headers(webhook_secret, message_id, timestamp, payload),
    }
    try:
        async with (
            asyncio.timeout(DELIVERY_SECONDS),
            client.stream("POST", url, content=payload, headers=headers) as response,
        ):
            await _skip_body(response)
    except TimeoutError:
        return f"It gave no complete answer within {DELIVERY_SECONDS:g} seconds."
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _sentence(error)
    return None if response.is_success else f"It answered with status {response.status_code}."


async def _skip_body(response: httpx.Response) -> None:
    """Read past a short body, so that the connection can be used again; a long one is cut off."""
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > MAX_ANSWER_BYTES:
            return


def _sentence(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    for cause in _causes(error):
        match cause:
            case RefusedTarget():
                return cause.public_message
            case UnknownName():
                return "Its name cannot be resolved."
            case ssl.SSLCertVerificationError():
                return f"Its TLS certificate is not valid: {cause.verify_message}."
            case ssl.SSLError():
                return "No TLS connection could be made."
    return next(text for kind, text in _SENTENCES.items() if isinstance(error, kind))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, down to the first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
