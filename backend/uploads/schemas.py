"""JSON of resumable uploads."""

from datetime import datetime
from uuid import UUID

import msgspec


class UploadJson(msgspec.Struct):
    """How far an upload is; its `id` goes into a form once `offset` is `size_bytes`."""

    id: UUID
    offset: int
    size_bytes: int
    expires_at: datetime
