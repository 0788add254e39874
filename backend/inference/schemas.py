"""What goes over the wire about predictions."""

import msgspec

from compute.contract import ReturnFormat


class PredictionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON request; `model_input` is nested numbers, or base64 text of a tensor or image."""

    model_id: str | None = None
    # msgspec takes Raw in no union, so that nothing given is empty.
    model_input: msgspec.Raw = msgspec.Raw()
    return_format: str = "json"
    seed: int | None = None


class PredictionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A request in either encoding, read and checked."""

    model_id: str
    values: msgspec.Raw | None = None
    content: bytes | None = None
    return_format: ReturnFormat = ReturnFormat.JSON
    seed: int | None = None
