"""Makes a completed training with plausible metrics, without training anything.

It writes the rows of a past that never was, so it does not go through the coordinator, which moves
trainings from one state to the next.
"""

import random
import secrets
from uuid import UUID, uuid4

import msgspec

from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    Metric,
    Participant,
    Round,
    Training,
    User,
    training_key,
)
from backend.dummy.schemas import DummyCreated, DummyCredentials
from backend.errors import Conflict
from backend.models.records import insert_model
from backend.rounds.state import Phase, TrainingState
from backend.security.passwords import PasswordVerifier, hash_password
from backend.security.tokens import derive_token, hash_token
from compute.contract import DummyModel, MakeDummyModel
from compute.gateway import ComputeGateway

USERNAME = "dummy-user"
PASSWORD = "secret"  # noqa: S105 - the contract's, for debug mode
PARTICIPANTS = 5
UPDATES = 80
INPUT_SHAPE = (None, 3, 28, 28)
FIRST_LOSS = 27.354


class DummyService:
    """Creates demo data."""

    def __init__(self, *, database: Database, gateway: ComputeGateway, secret: str) -> None:
        self._database = database
        self._gateway = gateway
        self._secret = secret

    async def create(self) -> DummyCreated:
        """A new training of the demo user with new participants.

        Raises:
            Conflict: somebody else has the demo user's name.
        """
        made = await self._gateway.make_dummy_model(MakeDummyModel())
        actor = await self._demo_user()
        # Nobody signs in as these: the password is thrown away, one hash is enough for all.
        password_hash = await hash_password(secrets.token_urlsafe(32))
        participants = [
            self._user(f"dummy-client-{secrets.token_hex(4)}", password_hash, client=True)
            for _ in range(PARTICIPANTS)
        ]
        model = _model(made, actor.id)
        training = _training(model.id, actor.id)
        async with self._database.write_transaction():
            await User.insert(*participants)
            await insert_model(model)
            await Training.insert(training)
            await Round.insert(_last_round(training.id))
            await Participant.insert(*(_participation(training.id, p.id) for p in participants))
            await Metric.insert(*(m for p in participants for m in _metrics(model.id, p.id)))
        token = derive_token(self._secret, actor.id, actor.token_generation)
        return DummyCreated(
            message="Created Dummy Data in Metrics Database!",
            training_uuid=training.id,
            user_uuid=actor.id,
            user_credentials=DummyCredentials(USERNAME, PASSWORD, token),
            participants=[p.id for p in participants],
        )

    async def _demo_user(self) -> User:
        """The demo user, created when missing."""
        new = self._user(USERNAME, await hash_password(PASSWORD), actor=True)
        async with self._database.write_transaction():
            await User.insert(new).on_conflict(target=User.username, action="DO NOTHING")
        user = await User.objects().get(User.username == USERNAME)
        if user is None or not await PasswordVerifier().verify(user.password_hash, PASSWORD):
            raise Conflict(f"There is a user {USERNAME} with another password.")
        return user

    def _user(
        self, username: str, password_hash: str, *, actor: bool = False, client: bool = False
    ) -> User:
        user_id = uuid4()
        return User(
            id=user_id,
            username=username,
            password_hash=password_hash,
            actor=actor,
            client=client,
            token_hash=hash_token(derive_token(self._secret, user_id, 0)),
        )


def _model(made: DummyModel, owner: UUID) -> GlobalModel:
    return GlobalModel(
        id=uuid4(),
        kind="GLOBAL",
        owner=owner,
        name="Dummy model",
        description="An untrained CNN for digits, with made-up metrics.",
        input_shape=msgspec.json.encode(INPUT_SHAPE).decode(),
        round=UPDATES,
        format=made.format.value,
        digest=made.digest,
        size_bytes=made.size_bytes,
        preprocessing_digest=made.preprocessing_digest,
        num_parameters=made.num_parameters,
    )


def _training(model_id: UUID, actor: UUID) -> Training:
    return Training(
        id=uuid4(),
        actor=actor,
        model=model_id,
        state=TrainingState.COMPLETED.value,
        round=UPDATES - 1,
        target_num_updates=UPDATES,
        aggregation_method="FedAvg",
        uncertainty_method="NONE",
        metric_names='["NLLoss", "Accuracy"]',
    )


def _last_round(training_id: UUID) -> Round:
    index = UPDATES - 1
    return Round(
        key=training_key(training_id, index),
        training=training_id,
        index=index,
        phase=Phase.CLOSED.value,
    )


def _participation(training_id: UUID, user: UUID) -> Participant:
    return Participant(key=training_key(training_id, user), training=training_id, user=user)


def _metrics(model_id: UUID, reporter: UUID) -> list[Metric]:
    """What one participant would have reported, step by step."""
    identifier = secrets.token_hex(4)
    noise = random.Random(reporter.int)  # noqa: S311 - made-up figures
    figures = [
        (step, key, value)
        for step in range(UPDATES)
        for key, value in (
            ("NLLoss", FIRST_LOSS / (step + 1) + noise.randint(0, 100) / 100),
            ("Accuracy", step / UPDATES + noise.randint(0, 100) / 1000),
        )
    ]
    return [
        Metric(
            model=model_id,
            reporter=reporter,
            identifier=identifier,
            key=key,
            step=step,
            value_float=value,
        )
        for step, key, value in figures
    ]
