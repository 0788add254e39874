"""Runs operations against a server: sends, judges answers, and tries again what may succeed.

`Connection` and `AsyncConnection` differ in nothing but who waits: what they send, how they judge
it and when they try again is in `Line`.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec
import tenacity
from tenacity import AsyncRetrying, RetryCallState, Retrying

from starling_client.calls import NOTHING, Call, Operation, Wait
from starling_client.errors import (
    Conflict,
    InvalidRequest,
    MissingSetting,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refused,
    ServerBusy,
    StarlingError,
    Temporary,
    Unreachable,
    WrongAddress,
)
from starling_client.wire import Detail

logger = logging.getLogger("starling_client")

T = TypeVar("T")

# A server that has never answered is more likely misspelt than away.
FIRST_PATIENCE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0

# Another request is at it, or there are too many.
_BUSY = frozenset({423, 429})
_REFUSALS: Mapping[int, type[Refused]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
}


@dataclass
class Line:
    """How one server is talked to, and whether it has ever answered.

    Attributes:
        token: None: nobody asks in particular.
        patience_seconds: For how long what is temporary is tried again.
    """

    url: str
    token: str | None
    patience_seconds: float
    met: bool = False

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise WrongAddress(f"{self.url!r} is no address: {error}.") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise WrongAddress(
                f"{self.url!r} is no address of a server; it begins with http:// or https://."
            )
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise MissingSetting("The token has characters that no token has. Copy it again.")

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"User-Agent": f"starling-client/{version('starling-client')}"}
        if self.token is not None:
            headers["Authorization"] = f"Token {self.token}"
        return headers

    def failure(self, error: httpx.TransportError) -> Unreachable:
        """What to raise when no answer came. A mistake of ours is raised as it is."""
        if isinstance(error, httpx.LocalProtocolError):
            raise error
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        reason = str(error).rstrip(".") or type(error).__name__
        what = "cannot be reached" if unsent else "broke the connection off"
        return Unreachable(f"The server at {self.url} {what}: {reason}.", unsent=unsent)

    def judge(self, answer: httpx.Response) -> None:
        """Raises what an answer stands for, unless it is a success or 304."""
        if answer.is_success or answer.status_code == 304:
            return
        if answer.is_redirect:
            raise WrongAddress(
                f"{self.url} sends on to {answer.headers.get('Location')}; use that address."
            )
        said = _said(answer)
        if answer.status_code in _BUSY or (answer.is_server_error and answer.status_code != 501):
            raise ServerBusy(said.detail, answer.status_code, _retry_after(answer))
        kind = _REFUSALS.get(answer.status_code, InvalidRequest)
        # An id that names nothing is a 400, as existing clients know it.
        if answer.status_code == 400 and said.detail.endswith(" not found."):
            kind = NotFound
        raise kind(said.detail, answer.status_code, said.errors)

    def again(self, call: Call) -> Callable[[BaseException], bool]:
        """Whether `call` is worth another attempt after an error."""

        def worth(error: BaseException) -> bool:
            if not call.retried or not isinstance(error, Temporary):
                return False
            if call.repeatable:
                return True
            if isinstance(error, Unreachable):
                return error.unsent
            return isinstance(error, ServerBusy) and error.status in {429, 503}

        return worth

    def stop(self, state: RetryCallState) -> bool:
        """Whether patience is over."""
        patience = self.patience_seconds
        if not self.met:
            patience = min(patience, FIRST_PATIENCE_SECONDS)
        return (state.seconds_since_start or 0.0) >= patience


def _pause(state: RetryCallState) -> float:
    """Seconds until the next attempt: doubling, with jitter, and not before the server wants it."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(state.attempt_number, 10))
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - only spreads requests
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_seconds if isinstance(error, Temporary) else None
    return max(pause, min(asked or 0.0, 10 * LONGEST_PAUSE_SECONDS))


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    # The first failures are gone in a moment and nobody's business.
    level = logging.WARNING if state.attempt_number > 2 else logging.DEBUG
    logger.log(level, "%s Trying again in %.1f s.", error, pause)


class Connection:
    """Runs operations, and blocks until they are done."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._http = httpx.Client(base_url=line.url, headers=line.headers())

    def run(self, operation: Operation[T]) -> T:
        """The operation's result. Raises what the operation does not deal with."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = self._do(step)
                except StarlingError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def lines(self, call: Call) -> Generator[str, None, None]:
        """The lines of an answer that goes on; they end when it does, or when it breaks off."""
        answer = self._retrying(call)(self._open, call)
        try:
            yield from answer.iter_lines()
        except httpx.TransportError as error:
            logger.debug("%s broke off: %s", answer.url, error)
        finally:
            answer.close()

    def close(self) -> None:
        """Close what is open; nothing can be run afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _do(self, step: Call | Wait) -> httpx.Response:
        if isinstance(step, Wait):
            step.woken.wait(step.seconds)
            return NOTHING
        return self._retrying(step)(self._send, step)

    def _retrying(self, call: Call) -> Retrying:
        return Retrying(
            retry=tenacity.retry_if_exception(self._line.again(call)),
            stop=self._line.stop,
            wait=_pause,
            before_sleep=_tell,
            reraise=True,
        )

    def _open(self, call: Call) -> httpx.Response:
        try:
            with call.request(self._http) as request:
                answer = self._http.send(request, stream=True)
            self._line.met = True
            if not answer.is_success:
                answer.read()
                self._line.judge(answer)
        except httpx.TransportError as error:
            raise self._line.failure(error) from error
        return answer

    def _send(self, call: Call) -> httpx.Response:
        try:
            with call.request(self._http) as request:
                answer = self._http.send(request, stream=True)
                self._line.met = True
                try:
                    if call.sink is None or answer.status_code not in {200, 206}:
                        answer.read()
                        self._line.judge(answer)
                    else:
                        with call.sink.receiving(answer) as take:
                            for chunk in answer.iter_raw():
                                take(chunk)
                    return answer
                finally:
                    answer.close()
        except httpx.TransportError as error:
            raise self._line.failure(error) from error


class AsyncConnection:
    """Runs operations, and awaits what they wait for."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._http = httpx.AsyncClient(base_url=line.url, headers=line.headers())

    async def run(self, operation: Operation[T]) -> T:
        """The operation's result. Raises what the operation does not deal with."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = await self._do(step)
                except StarlingError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    async def lines(self, call: Call) -> AsyncGenerator[str, None]:
        """The lines of an answer that goes on; they end when it does, or when it breaks off."""
        answer: httpx.Response = await self._retrying(call)(self._open, call)
        try:
            async for line in answer.aiter_lines():
                yield line
        except httpx.TransportError as error:
            logger.debug("%s broke off: %s", answer.url, error)
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close what is open; nothing can be run afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _do(self, step: Call | Wait) -> httpx.Response:
        if isinstance(step, Wait):
            await asyncio.to_thread(step.woken.wait, step.seconds)
            return NOTHING
        return await self._retrying(step)(self._send, step)

    def _retrying(self, call: Call) -> AsyncRetrying:
        return AsyncRetrying(
            retry=tenacity.retry_if_exception(self._line.again(call)),
            stop=self._line.stop,
            wait=_pause,
            before_sleep=_tell,
            reraise=True,
        )

    async def _open(self, call: Call) -> httpx.Response:
        try:
            with call.request(self._http) as request:
                answer = await self._http.send(request, stream=True)
            self._line.met = True
            if not answer.is_success:
                await answer.aread()
                self._line.judge(answer)
        except httpx.TransportError as error:
            raise self._line.failure(error) from error
        return answer

    async def _send(self, call: Call) -> httpx.Response:
        try:
            with call.request(self._http) as request:
                answer = await self._http.send(request, stream=True)
                self._line.met = True
                try:
                    if call.sink is None or answer.status_code not in {200, 206}:
                        await answer.aread()
                        self._line.judge(answer)
                    else:
                        with call.sink.receiving(answer) as take:
                            async for chunk in answer.aiter_raw():
                                take(chunk)
                    return answer
                finally:
                    await answer.aclose()
        except httpx.TransportError as error:
            raise self._line.failure(error) from error


def _said(answer: httpx.Response) -> Detail:
    with suppress(msgspec.DecodeError):
        said = msgspec.json.decode(answer.content, type=Detail)
        if said.detail:
            return said
    return Detail(
        detail=f"{answer.url} answered {answer.status_code} {answer.reason_phrase}, without saying "
        "why."
    )


def _retry_after(answer: httpx.Response) -> float | None:
    # A date is possible too, and rare: then the usual pause has to do.
    with suppress(ValueError):
        return float(answer.headers.get("Retry-After", ""))
    return None
