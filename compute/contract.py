"""Messages between the backend and the compute cluster, and the callbacks that come back.

Only the standard library and msgspec are imported here, so that the web process can speak the
protocol without loading torch. Tensors never travel in a message; digests of blobs do. New fields
have defaults, so that a backend and a worker of neighbouring versions understand each other.
"""

import hashlib
import hmac
from collections.abc import Callable
from enum import StrEnum

import msgspec

CALLBACK_PATH = "/internal/callbacks/"
SIGNATURE_HEADER = "x-starling-signature"
TIMESTAMP_HEADER = "x-starling-timestamp"
CALLBACK_MAX_AGE_SECONDS = 300


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that crosses the seam."""


class ModelFormat(StrEnum):
    """Container of the bytes in a blob, found by looking at them and never by their file name."""

    TORCHSCRIPT = "torchscript"
    PICKLED_MODULE = "pickled_module"
    EXPORTED_PROGRAM = "exported_program"
    PICKLED_STATE_DICT = "pickled_state_dict"
    SAFETENSORS = "safetensors"


class RejectionReason(StrEnum):
    """Why a compute worker refuses an upload; each is the participant's or actor's to mend."""

    NOT_A_MODEL = "not_a_model"
    UNSAFE = "unsafe"
    TOO_LARGE = "too_large"
    INCOMPATIBLE = "incompatible"
    NOT_FINITE = "not_finite"
    TIMED_OUT = "timed_out"
    BAD_INPUT = "bad_input"


class Rejected(Exception):
    """An upload or input was refused; `detail` says what was wrong and what to send instead."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class CallbackTarget(Message, frozen=True, kw_only=True):
    """Where and how a worker reports: an absolute URL and the key that signs what it POSTs."""

    url: str
    secret: str


class CheckModel(Message, frozen=True, kw_only=True):
    """Order: look at an uploaded global model.

    Attributes:
        key: Blob key of the (staged) upload.
        input_shape: Shape of a batch with None for free dimensions; None when unknown.
    """

    key: str
    input_shape: list[int | None] | None = None


class ModelReport(Message, frozen=True, kw_only=True):
    """What a checked global model is.

    Attributes:
        stats: Layer statistics as torchinfo gives them, JSON-ready; None without an input shape.
    """

    format: ModelFormat
    num_parameters: int
    num_tensors: int
    stats: dict[str, object] | None = None


class CheckPreprocessing(Message, frozen=True, kw_only=True):
    """Order: look at an uploaded preprocessing module."""

    key: str


class CheckUpdate(Message, frozen=True, kw_only=True):
    """Order: look at an uploaded update, against the global model it was trained from."""

    key: str
    base_key: str


class UpdateReport(Message, frozen=True, kw_only=True):
    """What a checked update is."""

    format: ModelFormat
    num_tensors: int


class TensorEncoding(StrEnum):
    """How tensors are written in fewer bits; see `compute.encodings`."""

    BF16 = "bf16"
    INT8 = "int8"


class WriteStateDict(Message, frozen=True, kw_only=True):
    """Order: write a model's or an update's tensors as a safetensors file, without the module.

    Attributes:
        encoding: None: as they are.
    """

    key: str
    encoding: TensorEncoding | None = None


class WrittenStateDict(Message, frozen=True, kw_only=True):
    """The file, which is the same for the same order."""

    digest: str
    size_bytes: int


class UpdateRef(Message, frozen=True, kw_only=True):
    """An accepted update, by address.

    Attributes:
        sample_size: Number of training samples behind it, the weight of the update, >= 1.
    """

    update_id: str
    digest: str
    sample_size: int


class AggregationOptions(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that every strategy takes.

    Attributes:
        accumulate: dtype of the running sum; "float32" halves the memory for huge models.
    """

    accumulate: str = "float64"


class AggregatorSpec(Message, frozen=True, kw_only=True):
    """Everything an aggregator needs to be made anew, on any node."""

    training_id: str
    strategy: str
    blob_url: str
    callback: CallbackTarget
    options: AggregationOptions = AggregationOptions()


class FinishRound(Message, frozen=True, kw_only=True):
    """Order: aggregate these updates, and only these, into the next global model.

    Attributes:
        base_key: Blob key of the global model that the round started from.
        updates: Every update recorded for the round; those not folded yet are folded now.
    """

    round: int
    base_key: str
    updates: list[UpdateRef]

    def __reduce__(self) -> "tuple[Callable[[bytes], FinishRound], tuple[bytes]]":
        # Ray would pickle hundreds of updates one by one, while the round waits for its order.
        return decode_finish_round, (msgspec.msgpack.encode(self),)


def decode_finish_round(encoded: bytes) -> FinishRound:
    """What arrives of a `FinishRound`; workers of neighbouring versions know it by this name."""
    return msgspec.msgpack.decode(encoded, type=FinishRound)


class UpdateFigures(Message, frozen=True, kw_only=True):
    """How one update lies to the others.

    Attributes:
        norm: Euclidean norm of (update - base) over all floating tensors.
        cosine_to_mean: Cosine between (update - base) and the weighted mean of all such
            differences, over a fixed sample of coordinates; None when either is zero.
    """

    norm: float
    cosine_to_mean: float | None


class CheckMoments(Message, frozen=True, kw_only=True):
    """Order: look at a participant's SWAG moments, against the model they are about.

    Attributes:
        first_key: Blob key of E[theta], a torch-saved 1-D floating tensor of P entries, one for
            each scalar parameter in the order of `parameters()`.
        second_key: Likewise of E[theta**2].
    """

    first_key: str
    second_key: str
    base_key: str


class MomentsRef(Message, frozen=True, kw_only=True):
    """Accepted SWAG moments of one participant, by address."""

    moments_id: str
    first_digest: str
    second_digest: str
    sample_size: int


class FinishMoments(Message, frozen=True, kw_only=True):
    """Order: average these moments, weighted by sample size."""

    round: int
    base_key: str
    moments: list[MomentsRef]


class MakeMean(Message, frozen=True, kw_only=True):
    """Order: write the module whose tensors are the means of these models' tensors."""

    keys: list[str]


class MeanModel(Message, frozen=True, kw_only=True):
    """The written mean module, in the container format of the first member."""

    digest: str
    size_bytes: int
    format: ModelFormat
    num_parameters: int


class MakeDummyModel(Message, frozen=True, kw_only=True):
    """Order: write an untrained digits CNN and its preprocessing, for the demo data."""


class DummyModel(Message, frozen=True, kw_only=True):
    """The written network and its preprocessing."""

    digest: str
    size_bytes: int
    format: ModelFormat
    num_parameters: int
    preprocessing_digest: str


class UncertaintyMethod(StrEnum):
    """How a prediction's uncertainty is estimated; see docs of compute.uncertainty."""

    NONE = "NONE"
    MC_DROPOUT = "MC_DROPOUT"
    ENSEMBLE = "ENSEMBLE"
    SWAG = "SWAG"


class ReturnFormat(StrEnum):
    """Encoding of a prediction."""

    JSON = "json"
    BINARY = "binary"
    SAFETENSORS = "safetensors"


class Predict(Message, frozen=True, kw_only=True):
    """Order: predict, in a predictor.

    Attributes:
        model_keys: Blob of the model; of every member for ENSEMBLE.
        structure_key: Blob of a model of the same tensors, whose module is used where a blob of
            `model_keys` holds tensors alone, as updates do that are safetensors.
        values: Nested JSON numbers, encoded; or None when `content` is given.
        content: Bytes of a torch-saved tensor, an image, or base64 text of either.
        preprocessing_key: Blob of the module that the decoded input goes through first.
        input_shape: What the input must fit in the end, None for free dimensions; None: anything.
        samples: T, the number of stochastic forward passes of MC_DROPOUT and SWAG.
        softmax: Apply softmax over dimension 1 to each output first.
        moment_keys: Blobs of the first and second moment, for SWAG.
        seed: Makes a stochastic answer reproducible.
        asked_by: Whose input it is: a model sees rows of one user at a time.
    """

    model_keys: list[str]
    structure_key: str | None = None
    asked_by: str = ""
    values: msgspec.Raw | None = None
    content: bytes | None = None
    preprocessing_key: str | None = None
    input_shape: list[int | None] | None = None
    method: UncertaintyMethod = UncertaintyMethod.NONE
    samples: int = 10
    softmax: bool = False
    moment_keys: tuple[str, str] | None = None
    seed: int | None = None
    return_format: ReturnFormat = ReturnFormat.JSON


class Prediction(Message, frozen=True, kw_only=True):
    """The encoded answer: JSON text, a pickle of tensors, or safetensors."""

    content: bytes


class RoundFigures(Message, frozen=True, kw_only=True):
    """Measurements of one aggregation; times in seconds.

    Attributes:
        fold_order: Ids of the updates in the order in which they were folded; with it the result
            can be computed again bit for bit.
        torch: Version of torch that wrote the model; another one may write other bytes around the
            same tensors.
    """

    updates: dict[str, UpdateFigures]
    total_samples: int
    fold_seconds: float
    write_seconds: float
    device: str
    fold_order: list[str] = []
    torch: str = ""


class RoundAggregated(Message, frozen=True, kw_only=True, tag="round_aggregated"):
    """Callback: the round's new global model is in the blob store."""

    training_id: str
    round: int
    digest: str
    size_bytes: int
    figures: RoundFigures


class MomentsAggregated(Message, frozen=True, kw_only=True, tag="moments_aggregated"):
    """Callback: the round's SWAG moments are in the blob store, torch-saved 1-D float64 tensors."""

    training_id: str
    round: int
    first_digest: str
    second_digest: str


class RoundFailed(Message, frozen=True, kw_only=True, tag="round_failed"):
    """Callback: this round cannot be aggregated, and trying again would not help."""

    training_id: str
    round: int
    reason: str


Callback = RoundAggregated | MomentsAggregated | RoundFailed


class RecomputeRound(Message, frozen=True, kw_only=True, tag="recompute_round"):
    """Order: aggregate a round again, and compare with the model that it gave.

    Attributes:
        order: Its updates in the order in which they were folded.
        digest: Blob key of the model that the round gave, which need not be there any more.
        device: What it was computed on; a GPU is used again where there is one.
    """

    blob_url: str
    strategy: str
    options: AggregationOptions
    order: FinishRound
    digest: str
    device: str = "cpu"


class RecomputeMoments(Message, frozen=True, kw_only=True, tag="recompute_moments"):
    """Order: average SWAG moments again, and compare with the averages that were written."""

    blob_url: str
    order: FinishMoments
    first_digest: str
    second_digest: str


RecomputeOrder = RecomputeRound | RecomputeMoments


class TensorDifference(Message, frozen=True, kw_only=True):
    """The first value that differs; or, with an empty index, how two whole tensors differ.

    Attributes:
        index: One number per dimension.
    """

    name: str
    index: list[int]
    stored: str
    recomputed: str


class Recomputed(Message, frozen=True, kw_only=True):
    """What computing again gave.

    Attributes:
        digests: Of the model; of the first and the second moment. Empty when it failed.
        compared: Whether digests differ and what was written then is still there, so that tensors
            were compared. Without a difference, all of them have the same bits.
        failure: Why it cannot be computed again.
    """

    device: str
    torch: str
    digests: list[str] = []
    compared: bool = False
    difference: TensorDifference | None = None
    failure: str | None = None


class ComputeHealth(Message, frozen=True, kw_only=True):
    """Whether the cluster answers, and what it has."""

    ready: bool
    detail: str = ""
    cpus: float = 0.0
    gpus: float = 0.0
    dashboard_url: str | None = None


class ClusterNode(Message, frozen=True, kw_only=True):
    """A machine of the cluster; nothing but its name is known of one that is gone.

    Attributes:
        cpus_used, gpus_used: What is reserved for work, as Ray counts it; not the load.
        memory_bytes, memory_used_bytes: Of the whole machine where the backend runs on it; else
            what Ray may use of it, and what work has reserved thereof.
        accelerator: Kind of its GPUs, where Ray knows it.
    """

    id: str
    name: str
    address: str
    alive: bool
    head: bool
    cpus: float = 0.0
    cpus_used: float = 0.0
    gpus: float = 0.0
    gpus_used: float = 0.0
    memory_bytes: int = 0
    memory_used_bytes: int = 0
    object_store_bytes: int = 0
    object_store_used_bytes: int = 0
    accelerator: str | None = None


class ActorKind(StrEnum):
    """What a process that stays up is for."""

    AGGREGATOR = "aggregator"
    PREDICTOR = "predictor"
    OTHER = "other"


class ClusterActor(Message, frozen=True, kw_only=True):
    """A process that stays up between calls. Uploads are checked by others, which come and go.

    Attributes:
        state: As Ray names it, such as ALIVE or RESTARTING.
        node_id: Empty while it has no place yet.
        pid: On its node.
        training_id: Which an aggregator serves; None for a spare one.
        model_key: Blob of the model that a predictor was last used for.
    """

    id: str
    name: str
    kind: ActorKind
    state: str
    node_id: str = ""
    pid: int | None = None
    restarts: int = 0
    training_id: str | None = None
    model_key: str | None = None


class ClusterState(Message, frozen=True, kw_only=True):
    """What the cluster has and runs, as far as it answers.

    Attributes:
        embedded: It is the backend's own, on its machine.
        dashboard_has_token: Whoever opens the dashboard is asked for a token.
    """

    ready: bool
    detail: str = ""
    embedded: bool = False
    nodes: list[ClusterNode] = []
    actors: list[ClusterActor] = []
    dashboard_url: str | None = None
    dashboard_has_token: bool = False


def sign_callback(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of timestamp and body, in hex.

    Args:
        timestamp: Unix time in whole seconds, as sent in `TIMESTAMP_HEADER`.
    """
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def callback_is_genuine(
    secret: str, timestamp: str, body: bytes, signature: str, *, now: float
) -> bool:
    """Whether `signature` was made with `secret` for exactly this body, not too long ago."""
    plausible = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12
    if not plausible or abs(now - int(timestamp)) > CALLBACK_MAX_AGE_SECONDS:
        return False
    expected = sign_callback(secret, timestamp, body)
    return hmac.compare_digest(expected.encode(), signature.encode())
