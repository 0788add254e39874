"""What can go wrong for a caller; `backend.error_answers` has how each is answered.

StarlingError
├── InvalidRequest            400  a field is missing or wrong
│   ├── NotFound              400  the id in the path or body names nothing (the contract has 400)
│   ├── RefusedUpload         400  the file is not what it should be
│   └── WrongState            400  the training is not in the state or round that this needs
├── NotAuthenticated          401
├── NotAllowed                403  somebody else's
├── NothingHere               404  the thing exists, the part asked for does not
├── Conflict                  409  collides with what was accepted before
│   └── LateUpdate            409  the round is closed; says which one is open
├── Gone                      410  it was there and was deleted for good
├── NotAcceptable             406  the caller accepts no format that this address answers in
├── VersionNotSupported       412  of the protocol for resumable uploads
├── TooLarge                  413
├── WrongMediaType            415
├── RangeNotSatisfiable       416
├── UploadInUse               423  another request appends to it
├── TooManyAttempts           429  too many failed logins; `Retry-After` says when to try again
└── ChecksumMismatch          460  the bytes were damaged on their way; none of them was kept
ComputeUnavailable, BlobStoreUnavailable 503, BlobStoreFull 507 (`OUTAGES`)
DatabaseUnavailable              503  try again later
├── OutcomeUnknown               503  it went away while it committed
└── DatabaseFull                 507
StartupError                       ends `starling` with one line and exit code 1
└── BadSetting                     ... and exit code 2
"""

import logging
from collections.abc import Mapping

from compute.blobs import BlobStoreFull, BlobStoreUnavailable
from compute.gateway import ComputeUnavailable

FieldErrors = Mapping[str, list[str]]

CONNECTION_BROKE = "The connection broke before the body was complete."
NO_CREDENTIALS = "Authentication credentials were not provided."


class StartupError(Exception):
    """The server cannot start; the message is one line for the operator."""

    exit_code = 1


class BadSetting(StartupError):
    """A flag or variable has a value that cannot be used."""

    exit_code = 2


class StarlingError(Exception):
    """A refusal that the caller is told about, in `detail`.

    Attributes:
        ends_connection: The body was not read; what else comes over this connection is unclear.
    """

    ends_connection = False

    def __init__(self, detail: str, *, errors: FieldErrors | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors


class InvalidRequest(StarlingError):
    """A field is missing or wrong."""

    @classmethod
    def field(cls, name: str, message: str) -> "InvalidRequest":
        """The refusal of one field."""
        return cls(f"{name}: {message}", errors={name: [message]})


class NotFound(InvalidRequest):
    """The id names nothing."""

    def __init__(self, noun: str, given: object) -> None:
        super().__init__(f"{noun} {given} not found.")


class RefusedUpload(InvalidRequest):
    """The uploaded file is not what it should be."""


class WrongState(InvalidRequest):
    """The training is not in the state or round that the request needs."""


class NotAuthenticated(StarlingError):
    """Credentials are missing or wrong."""


class NotAllowed(StarlingError):
    """The caller has no right to this."""


class NothingHere(StarlingError):
    """The part asked for does not exist."""


class Conflict(StarlingError):
    """The request collides with what was accepted before."""


class LateUpdate(Conflict):
    """The round is closed; the answer names the one that the training is in."""

    def __init__(self, detail: str, *, round: int, phase: str) -> None:
        super().__init__(detail)
        self.round = round
        self.phase = phase


class Gone(StarlingError):
    """It was there, was deleted on purpose, and will not come back."""


class TooLarge(StarlingError):
    """The body is larger than the server takes."""


class WrongMediaType(StarlingError):
    """The body is in a format that this address does not take."""


class RangeNotSatisfiable(StarlingError):
    """The range asked for begins behind the last byte."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"Range: the file has {size_bytes} bytes; ask for some of these.")
        self.size_bytes = size_bytes


class VersionNotSupported(StarlingError):
    """The client speaks another version of the protocol."""


class UploadInUse(StarlingError):
    """Another request appends to the upload at this moment."""


class ChecksumMismatch(StarlingError):
    """The bytes are not those that the client's checksum is of."""


class NotAcceptable(StarlingError):
    """The caller accepts no format that this address answers in."""


class TooManyAttempts(StarlingError):
    """Too many logins failed; the next one is only looked at after a while."""

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class DatabaseUnavailable(Exception):
    """The database does not answer, or cannot do this now; nothing of it was committed."""


class OutcomeUnknown(DatabaseUnavailable):
    """The database went away during COMMIT: what was written is there, or will be, or is not."""


class DatabaseFull(DatabaseUnavailable):
    """The database has no space left; nothing was committed."""


# Nobody's mistake: the same may succeed later.
OUTAGES = (ComputeUnavailable, BlobStoreUnavailable, BlobStoreFull, DatabaseUnavailable)


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log why something that nobody waits for failed.

    An outage is a line, for it passes; anything else is a mistake of ours, with its traceback.
    """
    if isinstance(error, OUTAGES):
        log.warning("%s: %s", what, error)
    else:
        log.error(what, exc_info=error)
