"""The least that a server of these libraries is; `start` measures beside it."""

import sys

import uvicorn
from litestar import Litestar, get


@get("/health/live/")
async def live() -> dict[str, str]:
    """200."""
    return {"status": "ok"}


if __name__ == "__main__":
    uvicorn.run(Litestar([live]), port=int(sys.argv[1]), log_level="error")
