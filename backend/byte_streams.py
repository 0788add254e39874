"""Streams of bytes that lie in memory already, as answers: nobody copies them on the way."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from litestar.response import Stream
from litestar.response.streaming import ASGIStreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Litestar, Request
    from litestar.background_tasks import BackgroundTask, BackgroundTasks
    from litestar.datastructures import Cookie
    from litestar.enums import MediaType
    from litestar.types import HTTPResponseBodyEvent, Send, TypeEncodersMap

    from compute.blobs import Chunk


class ByteStream(Stream):
    """Litestar's stream, whose chunks may be views.

    uvicorn gives a view to the socket as it is; it is looked at until it was sent.
    """

    __slots__ = ("_chunks",)

    def __init__(
        self, content: AsyncIterator[Chunk], *, status_code: int, headers: dict[str, str]
    ) -> None:
        # Only `_ASGIByteStream` looks at what it yields.
        self._chunks = cast("AsyncIterator[bytes]", content)
        super().__init__(self._chunks, status_code=status_code, headers=headers)

    def to_asgi_response(
        self,
        app: Litestar | None,  # noqa: ARG002 - deprecated by Litestar
        request: Request,  # type: ignore[type-arg]  # noqa: ARG002
        *,
        background: BackgroundTask | BackgroundTasks | None = None,
        cookies: Iterable[Cookie] | None = None,
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: TypeEncodersMap | None = None,  # noqa: ARG002 - there is nothing to encode
    ) -> ASGIStreamingResponse:
        """As a stream of Litestar's, with chunks that are sent as they are."""
        return _ASGIByteStream(
            background=self.background or background,
            content_length=0,
            cookies=self.cookies if cookies is None else itertools.chain(self.cookies, cookies),
            encoded_headers=encoded_headers,
            headers={**(headers or {}), **self.headers},
            is_head_response=is_head_response,
            iterator=self._chunks,
            media_type=media_type,
            status_code=self.status_code or status_code,
        )


class _ASGIByteStream(ASGIStreamingResponse):
    """Litestar's own would take a view for text and encode it."""

    __slots__ = ()

    async def _stream(self, send: Send) -> None:
        async for chunk in self.iterator:
            await send(_body(chunk))
        await send(_body(b"", is_last=True))


def _body(chunk: str | bytes, *, is_last: bool = False) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": cast("bytes", chunk), "more_body": not is_last}
