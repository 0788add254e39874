"""Models as bare state dicts, made from their files when somebody asks.

They are blobs without a row: the sweeper deletes them after a while, and the next who asks has them
made again. The same model gives the same bytes, so entity tags and ranges outlive that.
"""

import asyncio
from weakref import WeakValueDictionary

from backend.errors import InvalidRequest
from compute.blobs import BlobStore
from compute.contract import Rejected, TensorEncoding, WriteStateDict
from compute.gateway import ComputeGateway

MAX_REMEMBERED = 4096

_Wanted = tuple[str, TensorEncoding | None]


class StateDictFiles:
    """Knows which file holds the tensors of which, and has compute write those that are missing."""

    def __init__(self, *, gateway: ComputeGateway, blobs: BlobStore) -> None:
        self._gateway = gateway
        self._blobs = blobs
        self._written: dict[_Wanted, str] = {}
        self._turns: WeakValueDictionary[_Wanted, asyncio.Lock] = WeakValueDictionary()

    async def digest(self, model: str, encoding: TensorEncoding | None) -> str:
        """The blob with the tensors of blob `model` as safetensors.

        However many ask at the same time, it is written once.

        Raises:
            InvalidRequest: they cannot be written so.
            ComputeUnavailable: compute takes no work.
        """
        wanted = (model, encoding)
        turn = self._turns.setdefault(wanted, asyncio.Lock())
        async with turn:
            digest = self._written.pop(wanted, None)
            if digest is None or not await asyncio.to_thread(self._blobs.exists, digest):
                digest = await self._write(model, encoding)
            while len(self._written) >= MAX_REMEMBERED:
                del self._written[next(iter(self._written))]
            self._written[wanted] = digest  # asked for most recently last
            return digest

    async def _write(self, model: str, encoding: TensorEncoding | None) -> str:
        try:
            order = WriteStateDict(key=model, encoding=encoding)
            return (await self._gateway.write_state_dict(order)).digest
        except Rejected as rejected:
            raise InvalidRequest.field("format", rejected.detail) from rejected
