"""Trainings at a glance: whose, how far, who is missing, and what it costs to know."""

import datetime as dt
import itertools
from uuid import UUID, uuid4

import pytest
import torch

from backend.db.bulk import insert_all
from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Metric,
    Participant,
    Round,
    Training,
    User,
    training_key,
)
from backend.metrics.series import SeriesKind, main_key, main_means, means
from backend.security.caller import Caller
from backend.security.presence import Presence
from backend.trainings.overview import overview_of
from backend.trainings.progress import board
from backend.trainings.schemas import MainMetric, TrainingOverview
from tests.federations import (
    Federation,
    MakeFederation,
    People,
    Person,
    accepted_model,
    training_order,
)
from tests.model_files import drifted, pickled, tiny, torchscript
from tests.waiting import wait_until

UPDATE = torchscript(drifted(tiny(), seed=1))


def overview(person: Person, **query: int) -> dict[str, object]:
    answer = person.client.get("/api/overview/", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def shown(person: Person, federation: Federation) -> dict[str, object]:
    """The training as it is in the person's overview."""
    trainings: list[dict[str, object]] = overview(person)["trainings"]  # type: ignore[assignment]
    (one,) = (each for each in trainings if each["id"] == federation.training_id)
    return one


def missing(person: Person, federation: Federation) -> tuple[object, object]:
    one = shown(person, federation)
    return one["missing"], one["missing_count"]


def test_it_has_what_the_training_says_of_itself(make_federation: MakeFederation) -> None:
    federation = make_federation()
    for person, role in ((federation.actor, "actor"), (federation.participants[0], "participant")):
        alone = person.client.get(f"/api/trainings/{federation.training_id}/").json()
        one = shown(person, federation)

        assert {field: one[field] for field in alone} == alone
        assert one["role"] == role
    assert alone["name"] == "Tiny"
    assert alone["actor_name"] == federation.actor.username
    assert alone["created_at"] <= alone["last_update"]


def test_who_is_missing_is_the_actors_to_know(make_federation: MakeFederation) -> None:
    federation = make_federation(rounds=1)
    first, second = federation.participants
    assert missing(federation.actor, federation) == ([first.username, second.username], 2)
    assert missing(second, federation) == ([second.username], 1)

    assert federation.upload(first, UPDATE).status_code == 201
    assert missing(federation.actor, federation) == ([second.username], 1)
    assert missing(first, federation) == ([], 0)

    assert federation.upload(second, UPDATE).status_code == 201
    federation.wait_for_tests(1)
    assert missing(federation.actor, federation) == ([first.username, second.username], 2)
    federation.report(second, 0.5)
    assert missing(federation.actor, federation) == ([first.username], 1)
    federation.report(first, 0.5)
    assert missing(federation.actor, federation) == ([], 0)


def test_moments_are_missing_too(make_federation: MakeFederation) -> None:
    federation = make_federation(rounds=1, model_type="SWAG", uncertainty_method="SWAG")
    first, second = federation.participants
    for person in (first, second):
        assert federation.upload(person, UPDATE).status_code == 201
    for person in (first, second):
        federation.told(person, "SWAG_ROUND_START")
    moment = pickled(torch.full((66,), 0.5))
    answer = first.client.post(
        f"/api/models/{federation.model_id}/swag/",
        data={"round": "1", "sample_size": "5"},
        files={"first_moment_file": ("f", moment), "second_moment_file": ("s", moment)},
    )
    assert answer.status_code == 201, answer.text

    assert missing(federation.actor, federation) == ([second.username], 1)
    board = federation.actor.client.get(f"/api/trainings/{federation.training_id}/participants/")
    assert [one["delivered_at"] is not None for one in board.json()] == [True, False]


def test_nobody_is_missing_before_the_start_or_after_a_pause_that_nobody_was_asked_in(
    make_federation: MakeFederation,
) -> None:
    waiting = make_federation(started=False)
    assert missing(waiting.actor, waiting) == ([], 0)

    paused = make_federation(options={"model_test_after_each_round": False})
    path = f"/api/trainings/{paused.training_id}"
    assert paused.actor.client.post(f"{path}/pause/").status_code == 202
    assert missing(paused.actor, paused)[1] == 2
    for person in paused.participants:
        assert paused.upload(person, UPDATE).status_code == 201
    wait_until(lambda: paused.training()["round"] == 1, what="the next round")
    assert missing(paused.actor, paused) == ([], 0)


def test_the_main_metric_is_shown_as_a_course(make_federation: MakeFederation) -> None:
    federation = make_federation()
    first, second = federation.participants
    assert shown(federation.actor, federation)["main_metric"] is None
    for person, size in ((first, 1), (second, 3)):
        answer = federation.upload(
            person, UPDATE, sample_size=size, metric_names=["loss"], metric_values=[str(size)]
        )
        assert answer.status_code == 201, answer.text
    assert shown(federation.actor, federation)["main_metric"] == {
        "key": "loss",
        "points": [[0, 2.5]],
    }
    assert shown(first, federation)["main_metric"] == {"key": "loss", "points": [[0, 1.0]]}

    federation.wait_for_tests(1)
    federation.report(first, 0.0)
    federation.report(second, 1.0)
    courses = {
        person.id: shown(person, federation)["main_metric"]
        for person in (federation.actor, first, second)
    }
    assert courses == {
        federation.actor.id: {"key": "accuracy", "points": [[1, 0.75]]},
        first.id: {"key": "accuracy", "points": [[1, 0.5]]},
        second.id: {"key": "accuracy", "points": [[1, 0.5]]},
    }


def test_the_most_recently_active_is_first(make_federation: MakeFederation) -> None:
    federation = make_federation(started=False)
    actor = federation.actor
    other = actor.client.post("/api/trainings/", json=training_order(accepted_model(actor)))
    federation.start()

    whole = overview(actor)
    newest = overview(actor, limit=1)

    ids = [one["id"] for one in whole["trainings"]]  # type: ignore[attr-defined]
    assert ids == [federation.training_id, other.json()["training_id"]]
    assert (whole["total"], newest["total"]) == (2, 2)
    assert newest["trainings"] == whole["trainings"][:1]  # type: ignore[index]


def test_strangers_have_no_trainings(make_federation: MakeFederation, make_user: People) -> None:
    make_federation()
    assert overview(make_user()) == {"trainings": [], "total": 0}


def test_the_board_says_when_something_was_delivered(make_federation: MakeFederation) -> None:
    federation = make_federation(rounds=1)
    first, second = federation.participants
    before = dt.datetime.now(dt.UTC)
    assert federation.upload(first, UPDATE).status_code == 201

    board = federation.actor.client.get(
        f"/api/trainings/{federation.training_id}/participants/"
    ).json()
    # Who is there is written once a minute only.
    assert dt.datetime.fromisoformat(board[0]["last_seen_at"]) >= before

    assert [one["delivered"] for one in board] == [True, False]
    assert board[1]["delivered_at"] is None
    delivered_at = dt.datetime.fromisoformat(board[0]["delivered_at"])
    assert before <= delivered_at <= dt.datetime.now(dt.UTC)
    assert federation.upload(second, UPDATE).status_code == 201
    federation.wait_for_tests(1)
    federation.report(second, 0.5)
    board = first.client.get(f"/api/trainings/{federation.training_id}/participants/").json()
    assert [(one["id"], one["delivered_at"]) for one in board] == [(first.id, None)]


async def collecting(actor: UUID, participants: list[UUID]) -> UUID:
    """A training in round 1, with an update in, and everybody's test of the round before."""
    model = GlobalModel(
        id=uuid4(),
        kind="GLOBAL",
        owner=actor,
        name="m",
        round=1,
        format="torchscript",
        digest="0",
        size_bytes=0,
        num_parameters=0,
    )
    training = Training(
        id=uuid4(),
        actor=actor,
        model=model.id,
        state="O",
        round=1,
        target_num_updates=2,
        aggregation_method="FedAvg",
        uncertainty_method="NONE",
        metric_names='["loss"]',
    )
    await GlobalModel.insert(model)
    await Training.insert(training)
    await insert_all(
        Participant,
        (
            Participant(key=training_key(training.id, user), training=training.id, user=user)
            for user in participants
        ),
    )
    key = training_key(training.id, 1)
    await Round.insert(Round(key=key, training=training.id, index=1, phase="collecting"))
    await LocalModel.insert(
        LocalModel(
            id=uuid4(),
            key=training_key(training.id, 1, participants[0]),
            round_key=key,
            training=training.id,
            base_model=model.id,
            round=1,
            owner=participants[0],
            digest="0",
            size_bytes=1,
            sample_size=1,
        )
    )
    await insert_all(
        Metric,
        (
            Metric(model=model.id, reporter=user, step=1, key="loss", value_float=1.0)
            for user in participants
        ),
    )
    return UUID(str(training.id))


def new_users(number: int) -> list[User]:
    return [
        User(id=uuid4(), username=f"u{k}", password_hash="", token_hash=str(k))
        for k in range(number)
    ]


async def test_a_delivery_is_a_sight_where_presence_was_not_written(
    either_database: Database,
) -> None:
    users = new_users(3)
    actor, *participants = (user.id for user in users)
    async with either_database.write_transaction():
        await insert_all(User, users)
        training_id = await collecting(actor, participants)
    training = await Training.objects().get(Training.id == training_id)
    assert training is not None

    delivered, silent = await board(training, None, Presence(either_database))

    assert delivered.last_seen_at == delivered.delivered_at is not None
    assert silent.last_seen_at is None


class Looks:
    """Looks at the overview of the user `actor`, and counts what the database is asked for it."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch, actor: UUID) -> None:
        self._engine = database.engine
        self._ask = database.engine.run_querystring
        self._monkeypatch = monkeypatch
        self._caller = Caller(actor, "u0", False)
        self.queries = self.rows = 0

    async def look(self) -> list[TrainingOverview]:
        self.queries = self.rows = 0
        self._monkeypatch.setattr(self._engine, "run_querystring", self._counted)
        found = await overview_of(self._caller, limit=100)
        self._monkeypatch.undo()
        return found.trainings

    async def _counted(self, *arguments: object, **options: object) -> object:
        answer = await self._ask(*arguments, **options)  # type: ignore[arg-type]
        self.queries += 1
        self.rows += len(answer)
        return answer


async def test_more_trainings_are_no_more_queries(
    either_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = new_users(26)
    actor, *participants = (user.id for user in users)
    looks = Looks(either_database, monkeypatch, actor)
    async with either_database.write_transaction():
        await insert_all(User, users)
        await collecting(actor, participants)
    of_one = await looks.look()
    queries = looks.queries
    async with either_database.write_transaction():
        for _ in range(20):
            await collecting(actor, participants)

    of_all = await looks.look()

    assert [(one.missing_count, len(one.missing)) for one in of_one] == [(24, 20)]
    assert [(one.missing_count, len(one.missing)) for one in of_all] == [(24, 20)] * 21
    assert looks.queries == queries <= 12


async def test_metrics_that_are_not_shown_are_not_computed(
    either_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = new_users(4)
    actor, *participants = (user.id for user in users)
    looks = Looks(either_database, monkeypatch, actor)
    async with either_database.write_transaction():
        await insert_all(User, users)
        training = await collecting(actor, participants)
    alone = await looks.look()
    rows = looks.rows
    row = await Training.objects().get(Training.id == training)
    assert row is not None
    async with either_database.write_transaction():
        await report(row, {f"other {k}" for k in range(50)}, {f"another {k}" for k in range(50)})

    among_others = await looks.look()

    assert among_others == alone
    assert [one.main_metric for one in alone] == [MainMetric(key="loss", points=[(1, 1.0)])]
    assert looks.rows == rows


async def report(training: Training, tests: set[str], updates: set[str]) -> None:
    """Have values of these metrics in round 1, from one participant."""
    (local,) = await LocalModel.objects().where(LocalModel.training == training.id)
    await insert_all(
        Metric,
        (
            Metric(model=model, reporter=local.owner, step=1, key=key, value_float=value)
            for model, keys, value in ((training.model, tests, 2.0), (local.id, updates, 3.0))
            for key in sorted(keys)
        ),
    )


async def test_the_main_metric_is_the_first_name_that_was_measured_else_the_first_key(
    either_database: Database,
) -> None:
    keys = ("a", "b", "z")
    subsets = [set(some) for size in range(4) for some in itertools.combinations(keys, size)]
    users = new_users(2)
    actor, participant = (user.id for user in users)
    caller = Caller(actor, "u0", False)
    names: dict[UUID, list[str]] = {}
    async with either_database.write_transaction():
        await insert_all(User, users)
        for tests, updates in itertools.product(subsets, subsets):
            id = await collecting(actor, [participant])
            await Metric.delete().where(Metric.key == "loss")
            training = await Training.objects().get(Training.id == id)
            assert training is not None
            await report(training, tests, updates)
            names[id] = [["b", "z"], ["z"], []][len(names) % 3]

    found = await main_means(names, caller, rounds=100)

    measured = {kind: await means(names, caller, kind) for kind in SeriesKind}
    expected = {}
    for id, wanted in names.items():
        tests, updates = (measured[kind].get(id, {}) for kind in SeriesKind)
        if (key := main_key(wanted, tests.keys() | updates.keys())) is not None:
            expected[id] = (key, tests.get(key) or updates[key])
    assert found == expected
    assert len(found) == len(names) - 1  # all but the one that nobody measured
