"""Every table. What a column means is in its `help_text`.

Columns that must be unique together are one text column (`key`), because SQLite cannot add a
composite constraint to a table. Indexes over two columns are made by migrations (0003, 0005), and a
column that begins one has none of its own.
"""

import uuid

from piccolo.columns import (
    JSON,
    UUID,
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    DoublePrecision,
    ForeignKey,
    Integer,
    Serial,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table


def training_key(training: uuid.UUID, *parts: object) -> str:
    """Value of a `key` column of rows that belong to a training."""
    return ":".join([training.hex, *(p.hex if isinstance(p, uuid.UUID) else str(p) for p in parts)])


class User(Table, tablename="starling_user"):
    """A person or machine that can sign in."""

    id = UUID(primary_key=True, default=UUID4())
    username = Varchar(length=150, unique=True)
    password_hash = Text(help_text="argon2id, in PHC format")
    first_name = Text(default="")
    last_name = Text(default="")
    email = Text(default="")
    message_endpoint = Text(default="", help_text="URL of the webhook; empty: feed only")
    actor = Boolean(default=False, help_text="says that they run trainings; grants nothing")
    client = Boolean(
        default=False, help_text="says that they take part in trainings; grants nothing"
    )
    superuser = Boolean(default=False)
    active = Boolean(default=True, help_text="false: cannot sign in")
    token_hash = Varchar(length=64, unique=True, help_text="SHA-256 of the API token, hex")
    token_generation = Integer(default=0, help_text="goes into the token; raised to replace it")
    created_at = Timestamptz(default=TimestamptzNow())
    last_seen_at = Timestamptz(
        null=True, default=None, help_text="last request with their credentials, to the minute"
    )


# Not named "session": the index of its `user` would have a name that PostgreSQL reserves.
class Session(Table, tablename="browser_session"):
    """A browser in which somebody is signed in; it holds the secret, as a cookie."""

    id = Serial(primary_key=True)
    secret_hash = Varchar(length=64, unique=True, help_text="SHA-256 of the secret, hex")
    user = ForeignKey(User, index=True, null=False)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(
        index=True, default=None, help_text="over then, unless it is used before"
    )


class UsedInvitation(Table, tablename="used_invitation"):
    """An invitation that somebody has registered with; nobody can again."""

    id = Serial(primary_key=True)
    number = Varchar(length=32, unique=True, help_text="of the invitation, random")
    expires_at = Timestamptz(index=True, help_text="the row is of no use any more afterwards")


class Group(Table, tablename="starling_group"):
    """A group of users; means nothing to the server but its name and its members."""

    id = Serial(primary_key=True)
    name = Varchar(length=150, unique=True)
    created_at = Timestamptz(default=TimestamptzNow())


class Membership(Table, tablename="membership"):
    """A user in a group; `id` keeps the order of joining."""

    id = Serial(primary_key=True)
    key = Varchar(length=100, unique=True, help_text="group:user")
    group = ForeignKey(Group, index=True, null=False)
    user = ForeignKey(User, index=True, null=False)
    joined_at = Timestamptz(default=TimestamptzNow())


class GlobalModel(Table, tablename="global_model"):
    """A model somebody uploaded, as it is now; its past is in `ModelVersion`."""

    id = UUID(primary_key=True, default=UUID4())
    kind = Varchar(length=8, help_text="GLOBAL, SWAG or MEAN")
    owner = ForeignKey(User, index=True, null=False)
    name = Varchar(length=256)
    description = Text(default="")
    input_shape = JSON(null=True, default=None, help_text="list of int or null, or null")
    round = Integer(default=0, help_text="aggregations behind the present weights")
    format = Varchar(length=32, help_text="container, a ModelFormat")
    digest = Varchar(length=64, index=True, help_text="blob of the present weights")
    size_bytes = BigInt()
    preprocessing_digest = Varchar(length=64, null=True, default=None, index=True)
    swag_first_digest = Varchar(length=64, null=True, default=None, index=True)
    swag_second_digest = Varchar(length=64, null=True, default=None, index=True)
    members = Text(null=True, default=None, help_text="JSON: ids of a mean model's members")
    num_parameters = BigInt()
    stats = JSON(null=True, default=None, help_text="layer statistics, made at upload")
    created_at = Timestamptz(default=TimestamptzNow())


class ModelVersion(Table, tablename="model_version"):
    """The weights of a global model after a number of aggregations."""

    id = Serial(primary_key=True)
    key = Varchar(length=100, unique=True, help_text="model:round")
    model = ForeignKey(GlobalModel, index=True, null=False)
    round = Integer()
    digest = Varchar(length=64, index=True)
    size_bytes = BigInt()
    created_at = Timestamptz(default=TimestamptzNow())
    kept = Boolean(default=True, help_text="false: its time to be kept is over, weights deleted")


class Training(Table, tablename="training"):
    """A training and where it stands."""

    id = UUID(primary_key=True, default=UUID4())
    actor = ForeignKey(User, index=True, null=False)
    model = ForeignKey(GlobalModel, unique=True, null=False)
    state = Varchar(length=1, default="I", index=True, help_text="a TrainingState")
    round = Integer(default=0, help_text="index of the open or last round")
    target_num_updates = Integer(help_text="rounds to run")
    aggregation_method = Varchar(length=16)
    uncertainty_method = Varchar(length=16)
    options = JSON(default="{}", help_text="as the actor gave them")
    metric_names = JSON(default="[]")
    error = Text(null=True, default=None, help_text="why the state is E, for people")
    paused_at = Timestamptz(null=True, default=None, help_text="null: not paused")
    created_at = Timestamptz(default=TimestamptzNow())
    last_update = Timestamptz(default=TimestamptzNow())


class Participant(Table, tablename="participant"):
    """Membership of a user in a training; `id` keeps the order of registration."""

    id = Serial(primary_key=True)
    key = Varchar(length=100, unique=True, help_text="training:user")
    training = ForeignKey(Training, index=True, null=False)
    user = ForeignKey(User, index=True, null=False)
    registered_at = Timestamptz(default=TimestamptzNow())


class Round(Table, tablename="round"):
    """One round of a training; written by the coordinator only."""

    id = Serial(primary_key=True)
    key = Varchar(length=100, unique=True, help_text="training:index")
    training = ForeignKey(Training, index=True, null=False)
    index = Integer(help_text="0-based")
    phase = Varchar(length=32, index=True, help_text="a Phase")
    opened_at = Timestamptz(default=TimestamptzNow())
    closed_at = Timestamptz(null=True, default=None, help_text="last expected update accepted")
    aggregated_at = Timestamptz(null=True, default=None)
    figures = JSON(null=True, default=None, help_text="RoundFigures of the aggregator")
    handed_on = JSON(default="{}", help_text="participant to local model, in daisy chaining")
    cohort = JSON(
        null=True, default=None, help_text="ids of who was drawn; null: every participant"
    )
    announced = Boolean(
        default=True, help_text="false: the training is paused, nobody was told of this phase"
    )
    deadline_at = Timestamptz(null=True, default=None, help_text="of the present phase")
    remaining_seconds = DoublePrecision(
        null=True, default=None, help_text="until the deadline, while the training is paused"
    )
    extended = Boolean(default=False, help_text="the present phase was given its time again")


class LocalModel(Table, tablename="local_model"):
    """An accepted update. Its row outlives its weights, so that repeats are recognised."""

    id = UUID(primary_key=True, default=UUID4())
    key = Varchar(length=150, unique=True, help_text="training:round:owner")
    round_key = Varchar(length=100, index=True, help_text="key of the Round")
    training = ForeignKey(Training, null=False)
    base_model = ForeignKey(GlobalModel, index=True, null=False)
    round = Integer()
    owner = ForeignKey(User, index=True, null=False)
    digest = Varchar(length=64, index=True)
    size_bytes = BigInt()
    sample_size = BigInt()
    kept = Boolean(default=True, help_text="false: aggregated, weights deleted")
    received_at = Timestamptz(default=TimestamptzNow())


class LocalMoments(Table, tablename="local_moments"):
    """Accepted SWAG moments of one participant after one aggregation."""

    id = UUID(primary_key=True, default=UUID4())
    key = Varchar(length=150, unique=True, help_text="training:round:owner")
    round_key = Varchar(length=100, index=True, help_text="key of the Round")
    training = ForeignKey(Training, index=True, null=False)
    owner = ForeignKey(User, index=True, null=False)
    first_digest = Varchar(length=64, index=True)
    second_digest = Varchar(length=64, index=True)
    sample_size = BigInt()
    kept = Boolean(default=True, help_text="false: aggregated, blobs deleted")
    received_at = Timestamptz(default=TimestamptzNow())


class Metric(Table, tablename="metric"):
    """One reported figure of a global or local model."""

    id = Serial(primary_key=True)
    model = UUID(default=None, help_text="id of a GlobalModel or LocalModel")
    reporter = ForeignKey(User, index=True, null=False)
    identifier = Varchar(length=64, null=True, default=None)
    key = Varchar(length=32)
    step = Integer(help_text="round of the model when it was reported")
    value_float = DoublePrecision(null=True, default=None, help_text="finite numbers")
    value_nonfinite = Varchar(
        length=9, null=True, default=None, help_text="NaN, Infinity or -Infinity"
    )
    value_binary = Bytea(null=True, default=None, help_text="what is no number, as sent")
    created_at = Timestamptz(default=TimestamptzNow())


class Notification(Table, tablename="notification"):
    """The outbox: what a user is to be told, in order of `id`."""

    id = BigSerial(primary_key=True)
    recipient = ForeignKey(User, null=False)
    training = UUID(default=None, help_text="kept when the training is deleted")
    type = Varchar(length=32)
    body = JSON(default="{}")
    created_at = Timestamptz(default=TimestamptzNow())
    waiting = Boolean(default=True, index=True, help_text="to be pushed to the webhook")
    attempts = Integer(default=0)
    last_error = Text(null=True, default=None)


class AuditEvent(Table, tablename="audit_event"):
    """What happened to a training; only ever appended to. Outlives the training."""

    id = BigSerial(primary_key=True)
    training = UUID(default=None)
    at = Timestamptz(default=None)
    kind = Varchar(length=32, help_text="an AuditKind")
    who = UUID(null=True, default=None, help_text="the user who did it; null: the server")
    round = Integer(null=True, default=None, help_text="the round it is about")
    details = Text(default="{}", help_text="JSON, exactly as it was hashed")
    digest = Varchar(length=64, help_text="SHA-256 over the previous event's digest and this event")


class PartialUpload(Table, tablename="partial_upload"):
    """A resumable upload; its bytes so far are a file in the data directory."""

    id = UUID(primary_key=True, default=UUID4())
    owner = ForeignKey(User, index=True, null=False)
    size_bytes = BigInt(help_text="of the whole upload, as announced")
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(index=True, default=None, help_text="swept afterwards")


TABLES: tuple[type[Table], ...] = (
    User,
    Session,
    UsedInvitation,
    Group,
    Membership,
    GlobalModel,
    ModelVersion,
    Training,
    Participant,
    Round,
    LocalModel,
    LocalMoments,
    Metric,
    Notification,
    AuditEvent,
    PartialUpload,
)
