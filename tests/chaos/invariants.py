"""What must hold when a training is over, whatever was killed meanwhile."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.journal import Accepted, Journal, Told
from tests.chaos.truth import Row, Snapshot, decoded


def violations(snapshot: Snapshot, journal: Journal, *, rounds: int, swag: bool) -> list[str]:
    """Each sentence says what was found and what should have been."""
    return [
        *journal.wrong,
        *_state(snapshot, rounds),
        *_accepted(snapshot, journal, rounds, swag=swag),
        *_folded_once(snapshot, rounds),
        *_told_once(snapshot, journal, rounds, swag=swag),
        *_reported(snapshot, journal, rounds),
        *_audited(snapshot, rounds),
    ]


def _state(snapshot: Snapshot, rounds: int) -> Iterator[str]:
    training, model = snapshot.training, snapshot.model
    if training["state"] != "C":
        yield f"the training is in state {training['state']}: {training['error']}"
    phases = [(row["index"], row["phase"]) for row in snapshot.rounds]
    if phases != [(index, "closed") for index in range(rounds)]:
        yield f"rounds are {phases} instead of {rounds} closed ones"
    versions = [row["round"] for row in snapshot.versions]
    if versions != list(range(rounds + 1)) or model["round"] != rounds:
        yield f"versions {versions} and a model of round {model['round']} after {rounds} rounds"
    elif snapshot.versions[-1]["digest"] != model["digest"]:
        yield "the model is not its newest version"


def _accepted(snapshot: Snapshot, journal: Journal, rounds: int, *, swag: bool) -> Iterator[str]:
    """One row for each round and participant: what the participant was answered 201 for."""
    owners = {row["user"]: place for place, row in enumerate(snapshot.participants)}
    for what, rows, promised, in_rounds in (
        ("update", snapshot.updates, journal.updates, rounds),
        ("moments", snapshot.moments, journal.moments, rounds if swag else 0),
    ):
        kept: dict[tuple[int, int], list[Accepted]] = {}
        for row in rows:
            kept.setdefault(_place(row, owners), []).append(_accepted_row(row))
        expected = {(round, place) for round in range(in_rounds) for place in owners.values()}
        for round, place in sorted(expected | set(kept) | set(promised)):
            here, promise = kept.get((round, place), []), promised.get((round, place))
            name = f"{what} of participant {place} in round {round}"
            if (round, place) not in expected:
                yield f"{name}: nobody asked for it"
            if promise is None:
                yield f"{name}: never answered 201"
            elif here != [promise]:
                yield f"{name}: rows {here} instead of exactly the promised {promise}"


def _folded_once(snapshot: Snapshot, rounds: int) -> Iterator[str]:
    """The aggregator of each round counted the round's updates, each once, and nothing else."""
    for row in snapshot.rounds:
        figures = decoded(row["figures"])
        updates = sorted(str(u["id"]) for u in snapshot.updates if u["round_key"] == row["key"])
        if not isinstance(figures, dict):
            yield f"round {row['index']} has no figures"
        elif sorted(figures["fold_order"]) != updates:
            yield f"round {row['index']} folded {figures['fold_order']} instead of {updates}"
        elif set(figures["updates"]) != set(updates):
            yield f"round {row['index']} has figures of {sorted(figures['updates'])}"
    if len(snapshot.rounds) != rounds:
        yield f"{len(snapshot.rounds)} rounds instead of {rounds}"


def course_of_notifications(rounds: int, *, swag: bool) -> list[tuple[str, int | None]]:
    """Type and round of what each participant is told, in order, once each."""
    told: list[tuple[str, int | None]] = [("TRAINING_START", None)]
    for round in range(rounds):
        told.append(("UPDATE_ROUND_START", round))
        if swag:
            told.append(("SWAG_ROUND_START", round + 1))
        told.append(("MODEL_TEST_ROUND", round + 1))
    return [*told, ("TRAINING_FINISHED", None)]


def _told_once(snapshot: Snapshot, journal: Journal, rounds: int, *, swag: bool) -> Iterator[str]:
    """Everybody was told everything once, in order, and found in the feed what the table has."""
    expected = course_of_notifications(rounds, swag=swag)
    outbox: defaultdict[object, list[Told]] = defaultdict(list)
    for row in snapshot.notifications:
        told = Told(int(str(row["id"])), str(row["type"]), _round_of(row))
        outbox[row["recipient"]].append(told)
    for place, row in enumerate(snapshot.participants):
        in_outbox = outbox[row["user"]]
        if [(told.type, told.round) for told in in_outbox] != expected:
            yield f"participant {place} was to be told {in_outbox} instead of {expected}"
        if journal.told[place] != in_outbox:
            yield f"participant {place} was told {journal.told[place]} instead of {in_outbox}"
    actors = [told.type for told in outbox[snapshot.training["actor"]]]
    if actors != ["TRAINING_FINISHED"]:
        yield f"the actor was told {actors}"


def _reported(snapshot: Snapshot, journal: Journal, rounds: int) -> Iterator[str]:
    """Every test report is there; one whose answer was lost may be there twice."""
    owners = {row["user"]: place for place, row in enumerate(snapshot.participants)}
    found: dict[tuple[int, int], set[object]] = {}
    for row in snapshot.metrics:
        if row["model"] == snapshot.model["id"]:
            key = int(str(row["step"])) - 1, owners[row["reporter"]]
            found.setdefault(key, set()).add(row["value_float"])
    expected = {key: {value} for key, value in journal.reports.items()}
    wanted = {(round, place) for round in range(rounds) for place in owners.values()}
    if set(expected) != wanted:
        yield f"reports of {sorted(expected)} were answered instead of {sorted(wanted)}"
    if found != expected:
        yield f"reports are {found} instead of {expected}"


def _audited(snapshot: Snapshot, rounds: int) -> Iterator[str]:
    """The log has one aggregation of each round, of exactly the round's updates."""
    events = [row for row in snapshot.audit if row["kind"] == "round_aggregated"]
    if [row["round"] for row in events] != list(range(rounds)):
        yield f"the audit log has aggregations of rounds {[row['round'] for row in events]}"
        return
    versions = {row["round"]: row["digest"] for row in snapshot.versions}
    for round, event in enumerate(events):
        details = decoded(event["details"])
        if not isinstance(details, dict):
            yield f"the audit log has no details of round {round}"
            continue
        logged = Counter((u["update"], u["digest"], u["sample_size"]) for u in details["updates"])
        there = Counter(
            (u["id"], u["digest"], u["sample_size"])
            for u in snapshot.updates
            if int(str(u["round_key"]).split(":")[1]) == round
        )
        if logged != there:
            yield f"the audit log of round {round} has {logged} instead of {there}"
        if details["digest"] != versions.get(round + 1):
            yield f"the audit log of round {round} has another model than its version"
    accepted = Counter(row["kind"] for row in snapshot.audit)["update_accepted"]
    if accepted != len(snapshot.updates):
        yield f"the audit log has {accepted} accepted updates of {len(snapshot.updates)}"


def blob_violations(referenced: set[str], blobs: Mapping[str, str], *, swept: bool) -> list[str]:
    """Whether every needed blob is there and sound; once swept, whether nothing else is.

    Args:
        blobs: Path to SHA-256 of every file in the blob store.
    """
    by_name = {path.rsplit("/", 1)[-1]: (path, digest) for path, digest in blobs.items()}
    found = []
    for digest in sorted(referenced):
        if digest not in by_name:
            found.append(f"blob {digest} is needed and gone")
        elif by_name[digest][1] != digest:
            found.append(f"blob {digest} holds other bytes: {by_name[digest][1]}")
    if swept:
        found += [
            f"{path} is in the blob store and nothing needs it"
            for name, (path, _) in sorted(by_name.items())
            if name not in referenced
        ]
    return found


def lost_promises(
    rows: Sequence[Row], participants: Sequence[Row], promised: Mapping[tuple[int, int], Accepted]
) -> list[str]:
    """Updates that were answered 201 and are not in the rows of a database without a server."""
    owners = {row["user"]: place for place, row in enumerate(participants)}
    kept = {_place(row, owners): _accepted_row(row) for row in rows}
    return [
        f"the 201 of participant {place} in round {round} was for {promise}, and there is "
        f"{kept.get((round, place))}"
        for (round, place), promise in promised.items()
        if kept.get((round, place)) != promise
    ]


def _accepted_row(row: Row) -> Accepted:
    size = int(str(row["sample_size"]))
    if "digest" in row:
        return Accepted((str(row["digest"]),), size)
    return Accepted((str(row["first_digest"]), str(row["second_digest"])), size)


def _place(row: Row, owners: Mapping[object, int]) -> tuple[int, int]:
    """Round and participant of an update or of moments, from its round's key."""
    return int(str(row["round_key"]).split(":")[1]), owners[row["owner"]]


def _round_of(notification: Row) -> int | None:
    body = decoded(notification["body"])
    round = body.get("round") if isinstance(body, dict) else None
    return int(round) if round is not None else None
