"""Each violation that chaos looks for is found when it is there."""

import dataclasses
import json
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.chaos.invariants import (
    blob_violations,
    course_of_notifications,
    lost_promises,
    violations,
)
from tests.chaos.journal import Accepted, Journal, Told
from tests.chaos.server_logs import unexpected
from tests.chaos.truth import Snapshot

PARTICIPANTS, ROUNDS = 2, 2
Rows = list[dict[str, object]]


def sound() -> tuple[Snapshot, Journal]:
    """A training of two participants and two rounds in which nothing went wrong."""
    journal = Journal()
    updates: Rows = []
    notifications: Rows = []
    metrics: Rows = []
    for round in range(ROUNDS):
        for place in range(PARTICIPANTS):
            accepted = Accepted((f"digest-{round}-{place}",), 4)
            journal.updates[round, place] = accepted
            journal.reports[round, place] = place / 8
            updates.append(
                {
                    "id": f"update-{round}-{place}",
                    "round_key": f"training:{round}",
                    "owner": f"user-{place}",
                    "digest": accepted.digests[0],
                    "sample_size": accepted.sample_size,
                }
            )
            metrics.append(
                {
                    "model": "model",
                    "step": round + 1,
                    "reporter": f"user-{place}",
                    "value_float": place / 8,
                }
            )
    for kind, told_round in course_of_notifications(ROUNDS, swag=False):
        for recipient in [
            *range(PARTICIPANTS),
            *(["actor"] if kind == "TRAINING_FINISHED" else []),
        ]:
            number = len(notifications) + 1
            name = f"user-{recipient}" if recipient != "actor" else "actor"
            body = {} if told_round is None else {"round": told_round}
            notifications.append(
                {"id": number, "type": kind, "recipient": name, "body": json.dumps(body)}
            )
            if isinstance(recipient, int):
                journal.told[recipient].append(Told(number, kind, told_round))
    rounds: Rows = []
    versions: Rows = [{"round": 0, "digest": "version-0"}]
    audit: Rows = [{"kind": "update_accepted", "round": None, "details": "{}"} for _ in updates]
    for round in range(ROUNDS):
        own = [row for row in updates if row["round_key"] == f"training:{round}"]
        ids = [row["id"] for row in own]
        figures = {"fold_order": ids, "updates": {key: {} for key in ids}}
        rounds.append(
            {
                "index": round,
                "key": f"training:{round}",
                "phase": "closed",
                "figures": json.dumps(figures),
            }
        )
        versions.append({"round": round + 1, "digest": f"version-{round + 1}"})
        logged = [
            {"update": row["id"], "digest": row["digest"], "sample_size": row["sample_size"]}
            for row in own
        ]
        details = {"updates": logged, "digest": f"version-{round + 1}"}
        audit.append({"kind": "round_aggregated", "round": round, "details": json.dumps(details)})
    snapshot = Snapshot(
        training={"state": "C", "error": None, "actor": "actor"},
        model={"id": "model", "round": ROUNDS, "digest": f"version-{ROUNDS}"},
        participants=[{"user": f"user-{place}"} for place in range(PARTICIPANTS)],
        rounds=rounds,
        updates=updates,
        moments=[],
        versions=versions,
        notifications=notifications,
        metrics=metrics,
        audit=audit,
    )
    return snapshot, journal


def found(snapshot: Snapshot, journal: Journal) -> list[str]:
    return violations(snapshot, journal, rounds=ROUNDS, swag=False)


def test_a_training_in_which_nothing_went_wrong_has_no_violation() -> None:
    assert found(*sound()) == []


def replaced(table: str, place: int, **columns: object) -> Callable[[Snapshot], Snapshot]:
    """The snapshot with other columns in one row."""

    def change(snapshot: Snapshot) -> Snapshot:
        rows = deepcopy(list(getattr(snapshot, table)))
        rows[place] |= columns
        return dataclasses.replace(snapshot, **{table: rows})

    return change


def without(table: str, place: int) -> Callable[[Snapshot], Snapshot]:
    """The snapshot without one row."""

    def change(snapshot: Snapshot) -> Snapshot:
        rows = list(getattr(snapshot, table))
        del rows[place]
        return dataclasses.replace(snapshot, **{table: rows})

    return change


def twice(table: str, place: int, **columns: object) -> Callable[[Snapshot], Snapshot]:
    """The snapshot with one row twice, the second time with other columns."""

    def change(snapshot: Snapshot) -> Snapshot:
        rows = list(getattr(snapshot, table))
        return dataclasses.replace(snapshot, **{table: [*rows, {**rows[place], **columns}]})

    return change


FOLDED_TWICE = {"fold_order": ["update-0-0"] * 2 + ["update-0-1"], "updates": {}}
FOLDED_LESS = {"fold_order": ["update-0-0"], "updates": {"update-0-0": {}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: dataclasses.replace(s, training={**s.training, "state": "E"}),
            "in state E",
        ),
        (replaced("rounds", 1, phase="testing"), "rounds are"),
        (without("rounds", 1), "rounds are"),
        (without("versions", 1), "versions [0, 2]"),
        (twice("versions", 1), "versions [0, 1, 2, 1]"),
        (replaced("versions", 2, digest="another"), "not its newest version"),
        (without("updates", 0), "participant 0 in round 0: rows []"),
        (twice("updates", 0, id="again"), "instead of exactly the promised"),
        (replaced("updates", 3, digest="another"), "participant 1 in round 1: rows"),
        (replaced("updates", 3, sample_size=5), "participant 1 in round 1: rows"),
        (replaced("rounds", 0, figures=json.dumps(FOLDED_TWICE)), "round 0 folded"),
        (replaced("rounds", 0, figures=json.dumps(FOLDED_LESS)), "round 0 folded"),
        (replaced("rounds", 0, figures=None), "round 0 has no figures"),
        (without("notifications", 2), "participant 0 was to be told"),
        (twice("notifications", 2, id=999), "participant 0 was to be told"),
        (replaced("notifications", 2, body='{"round": 1}'), "participant 0 was to be told"),
        (without("notifications", -1), "the actor was told []"),
        (without("metrics", 2), "reports are"),
        (replaced("metrics", 2, value_float=0.75), "reports are"),
        (without("audit", -1), "aggregations of rounds [0]"),
        (without("audit", 0), "3 accepted updates of 4"),
        (
            replaced("audit", -1, details=json.dumps({"updates": [], "digest": "version-2"})),
            "the audit log of round 1 has",
        ),
    ],
)
def test_a_violation_in_the_database_is_found(
    change: Callable[[Snapshot], Snapshot], said: str
) -> None:
    snapshot, journal = sound()
    assert any(said in violation for violation in found(change(snapshot), journal))


def test_an_update_that_was_never_answered_201_is_found() -> None:
    snapshot, journal = sound()
    del journal.updates[1, 0]
    assert found(snapshot, journal) == ["update of participant 0 in round 1: never answered 201"]


def test_what_the_feed_kept_back_or_gave_twice_is_found() -> None:
    snapshot, journal = sound()
    journal.told[1].pop()
    assert any("participant 1 was told" in violation for violation in found(snapshot, journal))
    snapshot, journal = sound()
    journal.told[1].append(journal.told[1][-1])
    assert any("participant 1 was told" in violation for violation in found(snapshot, journal))


def test_what_a_participant_complained_about_is_a_violation() -> None:
    snapshot, journal = sound()
    journal.complain("p1", "500 instead of 201")
    assert found(snapshot, journal) == ["p1: 500 instead of 201"]


def test_a_promise_that_a_crash_broke_is_found() -> None:
    snapshot, journal = sound()
    assert lost_promises(snapshot.updates, snapshot.participants, journal.promises()) == []
    lost = lost_promises(snapshot.updates[1:], snapshot.participants, journal.promises())
    assert len(lost) == 1
    assert "participant 0 in round 0" in lost[0]


def test_blobs_that_are_gone_damaged_or_orphaned_are_found() -> None:
    blobs = {"blobs/aa/aa1": "aa1", "staged/bb2": "whatever"}
    assert blob_violations({"aa1"}, blobs, swept=False) == []
    assert blob_violations({"aa1", "cc3"}, blobs, swept=False) == ["blob cc3 is needed and gone"]
    damaged = {"blobs/aa/aa1": "another"}
    assert blob_violations({"aa1"}, damaged, swept=False) == ["blob aa1 holds other bytes: another"]
    assert blob_violations({"aa1"}, blobs, swept=True) == [
        "staged/bb2 is in the blob store and nothing needs it"
    ]


def test_errors_in_a_log_are_found_with_their_traceback() -> None:
    log = (
        "2026-11-23 09:00:00,000 INFO backend.app: started\n"
        "2026-11-23 09:00:01,000 ERROR backend.errors: unexpected error at GET /\n"
        "Traceback (most recent call last):\n"
        "KeyError: 'x'\n"
        "2026-11-23 09:00:02,000 WARNING compute.ray_gateway: lost\n"
        "Traceback (most recent call last):\n"
        "ValueError: y\n"
    )
    errors = unexpected(log)
    assert len(errors) == 2
    assert errors[0].endswith("KeyError: 'x'")
    assert errors[1].endswith("ValueError: y")
