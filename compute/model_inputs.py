"""Turns the input of a prediction into the tensor that the model takes.

An input is nested JSON numbers, a torch-saved tensor, an image, or base64 text of either of the
latter. It is never taken for a path, never unpickled beyond tensors, and its size is bounded before
it is unfolded. The wording of the refusals is what existing clients know.
"""

import base64
import binascii
import io
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compute.contract import Predict, Rejected, RejectionReason
from compute.formats import load_tensor

Preprocessing = Callable[[object], object]

MAX_DIMENSIONS = 16
MAX_PIXELS = 2**25
MAX_TENSOR_BYTES = 1024**3
# None of these starts another program or reads another file.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

NOT_A_TENSOR = (
    "Model input could not be casted or interpreted as a PyTorch tensor object "
    "and no preprecessing is defined."
)
NOT_A_TENSOR_AFTER_PREPROCESSING = (
    "Model input could not be casted or interpreted as a PyTorch tensor object "
    "and is still not a PyTorch tensor after preprecessing."
)
WRONG_SHAPE = "Input shape does not match model input shape."

_DATA_URL = re.compile(rb"data:[\w.+/-]*;base64,")
_WHITESPACE = re.compile(rb"\s+")
_TO_8_BIT = {"1": "L", "LA": "L", "La": "L", "L": "L"}


def model_input(order: Predict, preprocessing: Preprocessing | None) -> Tensor:
    """The tensor to predict, on the CPU.

    Numbers become float32; a saved tensor keeps its dtype; an image becomes float32 in [0, 1] of
    shape (channels, height, width), 1 channel for greyscale and 3 for anything else, without a
    batch dimension. Torchvision's transforms are given images as images; a preprocessed image that
    lacks nothing but the free batch dimension of the model's input is a batch of one.

    Raises:
        Rejected: BAD_INPUT in the words existing clients know; TOO_LARGE.
    """
    decoded: object = _decoded(order)
    image = decoded if isinstance(decoded, Image.Image) else None
    if preprocessing is not None:
        if decoded is None:
            raise bad_input(NOT_A_TENSOR_AFTER_PREPROCESSING)
        decoded = _preprocessed(decoded, preprocessing)
    elif image is not None:
        decoded = _image_tensor(image)
    if decoded is None:
        raise bad_input(NOT_A_TENSOR)
    if not isinstance(decoded, Tensor):
        raise bad_input(NOT_A_TENSOR_AFTER_PREPROCESSING)
    tensor = decoded.as_subclass(Tensor).detach()
    # Without preprocessing such an image is refused, as existing clients know it.
    if image is not None and preprocessing is not None and _is_row(tensor.shape, order.input_shape):
        tensor = tensor.unsqueeze(0)
    if not fits(tensor.shape, order.input_shape):
        raise bad_input(WRONG_SHAPE)
    return tensor


def fits(shape: torch.Size, expected: list[int | None] | None) -> bool:
    """Whether a tensor's shape is what the model takes; None stands for anything."""
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        wanted is None or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )


def _is_row(shape: torch.Size, expected: list[int | None] | None) -> bool:
    """Whether a tensor of this shape lacks the batch dimension, of any size, and nothing else."""
    if not expected:
        return False
    batch, *row = expected
    return batch is None and fits(shape, row)


def bad_input(detail: str) -> Rejected:
    """What to raise for an input or model that cannot be predicted with."""
    return Rejected(RejectionReason.BAD_INPUT, detail)


def _decoded(order: Predict) -> Tensor | Image.Image | None:
    """What the order's input says; None when it says nothing that is known."""
    if order.content is not None:
        return _from_bytes(order.content)
    if order.values is None:
        return None
    try:
        value = msgspec.json.decode(order.values)
    except (msgspec.DecodeError, RecursionError):  # absurdly deep nesting
        return None
    if isinstance(value, str):
        return _from_base64(value.encode())
    return _from_numbers(value)


def _from_numbers(value: object) -> Tensor | None:
    innermost, dimensions = value, 0
    while isinstance(innermost, list) and innermost:
        innermost, dimensions = innermost[0], dimensions + 1
        if dimensions > MAX_DIMENSIONS:
            return None
    if not isinstance(innermost, int | float | list):
        return None
    try:
        # Refuses ragged nesting, strings and nulls.
        return torch.tensor(value, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None


def _from_bytes(content: bytes) -> Tensor | Image.Image | None:
    decoded = _from_container(content)
    return _from_base64(content) if decoded is None else decoded


def _from_base64(text: bytes) -> Tensor | Image.Image | None:
    prefix = _DATA_URL.match(text[:100])
    text = _WHITESPACE.sub(b"", text[prefix.end() :] if prefix else text)
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return _from_container(content)


def _from_container(content: bytes) -> Tensor | Image.Image | None:
    if content.startswith(b"PK"):
        return _saved_tensor(content)
    return _image(content)


def _saved_tensor(content: bytes) -> Tensor | None:
    with tempfile.TemporaryDirectory(prefix="starling-input-") as folder:
        path = Path(folder) / "input"
        path.write_bytes(content)
        try:
            tensor = load_tensor(path)
        except Rejected as rejected:
            if rejected.reason is RejectionReason.TOO_LARGE:
                raise
            return None
    # A tensor may stand for more than the file holds: strides of 0.
    if tensor.nbytes > MAX_TENSOR_BYTES:
        raise Rejected(
            RejectionReason.TOO_LARGE, f"An input of {tensor.nbytes} bytes is not accepted."
        )
    return tensor


def _image(content: bytes) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            # Size is judged below; damaged metadata is no reason to refuse an image.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise _too_many_pixels()
            image.load()
            return image.convert(_TO_8_BIT.get(image.mode, "RGB"))
    except Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError):
        # What Pillow's readers raise on what is no image or a damaged one.
        return None


def _too_many_pixels() -> Rejected:
    return Rejected(
        RejectionReason.TOO_LARGE, f"An image of more than {MAX_PIXELS} pixels is not accepted."
    )


def _image_tensor(image: Image.Image) -> Tensor:
    rows = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(rows).permute(2, 0, 1).float().div_(255)


def _preprocessed(decoded: object, preprocessing: Preprocessing) -> object:
    value: object = decoded
    if isinstance(decoded, Image.Image) and not _takes_images(preprocessing):
        value = _image_tensor(decoded)
    try:
        with torch.no_grad():
            return preprocessing(value)
    except Exception as error:
        raise failed("The preprocessing", error) from error


def _takes_images(preprocessing: Preprocessing) -> bool:
    """Whether it is made of torchvision's transforms, and not of layers or TorchScript."""
    parts = preprocessing.modules() if isinstance(preprocessing, nn.Module) else [preprocessing]
    return any(type(part).__module__.startswith("torchvision.") for part in parts)


_PATH = re.compile(r"(?:/[\w.+~-]+){2,}/?")
_PREFIX = re.compile(r"^(?:[\w.]*(?:Error|Exception): )+")
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc")


def failed(what: str, error: Exception) -> Rejected:
    """What to raise when uploaded code raised `error`: its message, without traceback and paths."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    exhausted = isinstance(error, MemoryError)
    if exhausted or any(sign in line for line in lines for sign in _OUT_OF_MEMORY):
        return Rejected(RejectionReason.TOO_LARGE, f"{what} takes more memory than it may.")
    # TorchScript puts its traceback first and the reason last.
    scripted = bool(lines) and "TorchScript" in lines[0]
    line = (lines[-1] if scripted else lines[0]) if lines else type(error).__name__
    reason = _PATH.sub("…", _PREFIX.sub("", line))[:200]
    return bad_input(f"{what} failed on this input: {reason}")
