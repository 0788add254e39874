"""Paging by id: whoever has seen everything up to an id asks for what comes after it."""

from typing import Annotated

from litestar.params import QueryParameter

# The largest integer that every JSON library reads exactly; no id will come near it.
LARGEST_ID = 2**53 - 1

AfterId = Annotated[
    int,
    QueryParameter(
        ge=0, le=LARGEST_ID, description="Only what has a higher id; 0: from the beginning."
    ),
]

BeforeId = Annotated[
    int,
    QueryParameter(
        ge=0, le=LARGEST_ID, description="Only what has a lower id; by default to the end."
    ),
]
