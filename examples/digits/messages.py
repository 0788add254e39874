"""What the demo and its participant processes say to each other over stdin and stdout, as JSON."""

import msgspec


class Score(msgspec.Struct, frozen=True):
    """Mean cross-entropy in nats, and the fraction of right answers."""

    loss: float
    accuracy: float


class Enrolment(msgspec.Struct, frozen=True):
    """To a participant: where the server is, and the token of the participant's user there."""

    server: str
    token: str


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """From a participant: its webhook endpoint takes notifications on this loopback port."""

    port: int


class TrainedAlone(msgspec.Struct, frozen=True, tag="trained_alone"):
    """From a participant, last: how a model does that only ever saw this participant's share."""

    score: Score


Report = Listening | TrainedAlone
