"""What can go wrong, named by what the caller can do next.

StarlingError
├── MissingSetting          give the address, the token or the training
├── WrongAddress            mend the address: what is there is no Starling server
├── Temporary               the same again may succeed; patience for it is over
│   ├── Unreachable         look at the network, or wait
│   ├── ServerBusy          the server said so itself; wait
│   └── DamagedTransfer     the bytes are not those that were sent
├── Refused                 the server says what is wrong, in `detail` and `errors`
│   ├── NotAuthenticated    get a valid token
│   ├── NotAllowed          ask the actor or the operator
│   │   └── NotAParticipant ask the actor to be registered in the training
│   ├── NotFound            mend the id
│   │   └── UnknownTraining
│   ├── Conflict            it collides with what was accepted before
│   └── InvalidRequest      mend what was sent
├── BadSubmission           give `submit` what the task asks for
├── UnusableModel           pass a network of your own to `task.model(network)`
└── TrainingEnded           there is nothing left to do
    ├── TrainingFailed      the server or the actor gave the training up
    └── RemovedFromTraining
"""

from collections.abc import Mapping, Sequence


class StarlingError(Exception):
    """Anything that this package raises on purpose.

    Attributes:
        detail: A sentence for people.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail: str = detail


class MissingSetting(StarlingError):
    """Neither an argument nor the environment says it."""


class WrongAddress(StarlingError):
    """What answers there is no Starling server, or nothing can be asked at such an address."""


class Temporary(StarlingError):
    """The same request may succeed later.

    Attributes:
        retry_after_seconds: When the server wants to be asked again, where it said so.
    """

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds: float | None = retry_after_seconds


class Unreachable(Temporary):
    """No answer came.

    Attributes:
        unsent: The request has certainly not arrived.
    """

    def __init__(self, detail: str, *, unsent: bool) -> None:
        super().__init__(detail)
        self.unsent: bool = unsent


class ServerBusy(Temporary):
    """The server answered that it cannot do this now.

    Attributes:
        status: Of its answer: 423, 429, or above 499.
    """

    def __init__(self, detail: str, status: int, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail, retry_after_seconds)
        self.status: int = status


class DamagedTransfer(Temporary):
    """What arrived does not have the checksum that the server gave."""


class Refused(StarlingError):
    """The server does not do this.

    Attributes:
        status: Of its answer.
        errors: Messages by field, where fields are at fault.
    """

    def __init__(
        self, detail: str, status: int, errors: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status: int = status
        self.errors: dict[str, Sequence[str]] = dict(errors or {})


class NotAuthenticated(Refused):
    """The token is missing or not valid (any more)."""


class NotAllowed(Refused):
    """The token's user has no right to this."""


class NotAParticipant(NotAllowed):
    """The token's user does not take part in the training."""


class NotFound(Refused):
    """The id names nothing."""


class UnknownTraining(NotFound):
    """The id names no training."""


class Conflict(Refused):
    """It collides with what was accepted before."""


class InvalidRequest(Refused):
    """Something that was sent is wrong."""


class BadSubmission(StarlingError):
    """`submit` was not given what the task asks for."""


class UnusableModel(StarlingError):
    """The global model cannot be used as it is."""


class TrainingEnded(StarlingError):
    """There is nothing left to do, and not because the training is complete."""


class TrainingFailed(TrainingEnded):
    """The training was aborted or given up; `detail` is the server's sentence."""


class RemovedFromTraining(TrainingEnded):
    """The participant was removed, or the training was deleted."""
