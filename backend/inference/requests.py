"""Reads a prediction request: JSON, or a form with the input as a file or field."""

import asyncio

import msgspec

from backend.errors import InvalidRequest, WrongMediaType
from backend.forms import MULTIPART, Form, FormReader
from backend.inference.schemas import PredictionOrder, PredictionRequest
from backend.json_bodies import read_json
from backend.security.authentication import CallerRequest
from compute.blobs import BlobStore
from compute.contract import ReturnFormat

FORM_FIELDS = ("model_id", "model_input", "return_format", "seed")
SEED_LIMIT = 2**63


async def read_order(request: CallerRequest, forms: FormReader) -> PredictionOrder:
    """What is to be predicted.

    Raises:
        InvalidRequest: a field is missing, unknown or has a value that cannot be.
        WrongMediaType: the body is neither JSON nor a multipart form.
    """
    declared = request.headers.get("content-type", "")
    match declared.partition(";")[0].strip().lower():
        case "application/json":
            given = await read_json(request, PredictionRequest, limit_bytes=forms.max_body_bytes)
            return _from_json(given)
        case "multipart/form-data":
            async with forms.fields(request, "model_input") as form:
                return await _from_form(form, forms.blobs)
        case _:
            raise WrongMediaType(
                f'Unsupported media type "{declared}" in request. '
                f"Send application/json or {MULTIPART}."
            )


def _from_json(given: PredictionRequest) -> PredictionOrder:
    model_id = _required_id(given.model_id)
    if not bytes(given.model_input):
        raise _missing_input()
    values, content = _split_input(given.model_input)
    return PredictionOrder(
        model_id=model_id,
        values=values,
        content=content,
        return_format=_return_format(given.return_format),
        seed=_checked_seed(given.seed),
    )


async def _from_form(form: Form, blobs: BlobStore) -> PredictionOrder:
    form.require_only(FORM_FIELDS)
    model_id = _required_id(form.text("model_id"))
    staged = form.files.get("model_input")
    if staged is not None:
        content = await asyncio.to_thread(lambda: b"".join(blobs.read(staged.key)))
    elif "model_input" in form.fields:
        content = form.fields["model_input"][0]
    else:
        raise _missing_input()
    seed = form.whole_number("seed", minimum=0, limit=SEED_LIMIT) if "seed" in form.fields else None
    return PredictionOrder(
        model_id=model_id,
        content=content,
        return_format=_return_format(form.text("return_format") or "binary"),
        seed=seed,
    )


def _split_input(given: msgspec.Raw) -> tuple[msgspec.Raw | None, bytes | None]:
    """Nested numbers, or the bytes of a text."""
    if bytes(given).lstrip()[:1] != b'"':
        return given, None
    return None, msgspec.json.decode(given, type=str).encode()


def _return_format(given: str) -> ReturnFormat:
    try:
        return ReturnFormat(given)
    except ValueError as error:
        raise InvalidRequest.field(
            "return_format",
            f"Unknown return format '{given[:40]}'. Supported are binary, json and safetensors.",
        ) from error


def _required_id(given: str | None) -> str:
    if not given:
        raise InvalidRequest(
            "No 'model_id' provided in request.", errors={"model_id": ["This field is required."]}
        )
    return given


def _missing_input() -> InvalidRequest:
    return InvalidRequest(
        "No uploaded file 'model_input' found.",
        errors={"model_input": ["This field is required."]},
    )


def _checked_seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < SEED_LIMIT:
        raise InvalidRequest.field("seed", "Must be an integer from 0 to 2**63 - 1.")
    return seed
