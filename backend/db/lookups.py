"""Many lookups by few queries: those that come while a query is under way share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

KEYS_PER_QUERY = 100


class Lookups(Generic[KeyT, ValueT]):
    """Finds values by key; a lookup sees whatever was committed before it was asked for.

    On SQLite each query is a thread and three open files: a thousand requests that come at once
    would otherwise be a thousand of them.

    Args:
        load: The values of some keys, for those that have one; at most `KEYS_PER_QUERY` at a time.
    """

    def __init__(
        self, load: Callable[[Collection[KeyT]], Awaitable[Mapping[KeyT, ValueT]]]
    ) -> None:
        self._load = load
        self._asked: dict[KeyT, list[asyncio.Future[ValueT | None]]] = {}
        self._work: asyncio.Task[None] | None = None

    async def get(self, key: KeyT) -> ValueT | None:
        """The value of `key`; None when it has none. Raises what `load` raises."""
        answer: asyncio.Future[ValueT | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                taken = {key: self._asked.pop(key) for key in [*self._asked][:KEYS_PER_QUERY]}
                await self._answer(taken)
        finally:
            self._work = None

    async def _answer(self, asked: Mapping[KeyT, list[asyncio.Future[ValueT | None]]]) -> None:
        open_answers = [(key, one) for key, answers in asked.items() for one in answers]
        try:
            found = await self._load(asked.keys())
        except Exception as error:  # noqa: BLE001 - raised again in who asked
            for _, one in open_answers:
                if not one.done():
                    one.set_exception(error)
            return
        for key, one in open_answers:
            # Who asked may have gone away.
            if not one.done():
                one.set_result(found.get(key))
