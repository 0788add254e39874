"""Types of text fields in requests; PostgreSQL cannot store a NUL character, so none takes one."""

from typing import Annotated

import msgspec

NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, msgspec.Meta(pattern=NO_NUL, max_length=10_000)]
RequiredText = Annotated[str, msgspec.Meta(pattern=NO_NUL, min_length=1, max_length=10_000)]
ShortName = Annotated[str, msgspec.Meta(pattern=NO_NUL, min_length=1, max_length=150)]
