"""`starling verify` on what somebody changed behind the server's back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from backend.cli import cli
from tests.backend.audit.histories import History, new_history

Line = dict[str, object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> History:
    return new_history(tmp_path_factory.mktemp("history") / "data")


@pytest.fixture
def history(whole: History, tmp_path: Path) -> History:
    """A copy of the whole one, to be tampered with."""
    shutil.copytree(whole.data_dir, tmp_path / "data")
    return History(tmp_path / "data", whole.training_id, whole.model_id)


def differences(history: History) -> list[Line]:
    """What verifying reports, which must be something; torch is only loaded where rounds matter."""
    code, lines = history.verify()
    different = [line for line in lines if line.get("outcome") == "different"]
    assert (code, lines[-1]["verdict"], bool(different)) == (1, "different", True), lines
    return different


def without_updates(history: History) -> None:
    """As a server with default options leaves it: nothing can be computed again."""
    with history.database() as connection:
        for table in ("local_model", "local_moments"):
            connection.execute(f"UPDATE {table} SET kept = 0")  # noqa: S608 - our own tables


def edit_details(
    history: History, kind: str, change: Callable[[Line], object], *, round: int = 0
) -> int:
    """Change the details of the first event of a kind; its id."""
    with history.database() as connection:
        event_id, text = connection.execute(
            "SELECT id, details FROM audit_event WHERE kind = ? AND round = ? ORDER BY id",
            (kind, round),
        ).fetchone()
        details = json.loads(text)
        change(details)
        connection.execute(
            "UPDATE audit_event SET details = ? WHERE id = ?", (json.dumps(details), event_id)
        )
    return int(event_id)


def ids(history: History) -> list[int]:
    with history.database() as connection:
        rows = connection.execute("SELECT id FROM audit_event ORDER BY id")
        return [event_id for (event_id,) in rows]


def test_a_whole_training_is_verified(history: History) -> None:
    files = {path: path.stat().st_mtime_ns for path in history.data_dir.rglob("blobs/**/*")}

    code, lines = history.verify()

    *findings, verdict = lines
    assert code == 0, lines
    assert {line["outcome"] for line in findings} == {"verified"}
    assert verdict["rounds"] == {"verified": 3}
    after = {path: path.stat().st_mtime_ns for path in history.data_dir.rglob("blobs/**/*")}
    assert after == files


def test_rounds_that_are_not_kept_are_not_called_verified(history: History) -> None:
    without_updates(history)

    code, lines = history.verify()

    assert code == 0
    assert lines[-1]["rounds"] == {"not_kept": 3}


def test_an_edited_event_is_named(history: History) -> None:
    without_updates(history)
    event_id = edit_details(history, "round_closed", lambda d: d.update(reason="deadline"), round=1)

    (line,) = differences(history)

    assert (line["check"], line["round"]) == ("log", 1)
    assert f"Event {event_id} (round_closed" in str(line["detail"])


def test_a_removed_event_is_noticed_at_the_next(history: History) -> None:
    without_updates(history)
    removed, following = ids(history)[5:7]
    with history.database() as connection:
        connection.execute("DELETE FROM audit_event WHERE id = ?", (removed,))

    assert f"Event {following} " in str(differences(history)[0]["detail"])


def test_the_first_of_two_swapped_events_is_named(history: History) -> None:
    without_updates(history)
    one, other = ids(history)[3:5]
    with history.database() as connection:
        for old, new in ((one, -1), (other, one), (-1, other)):
            connection.execute("UPDATE audit_event SET id = ? WHERE id = ?", (new, old))

    (line,) = differences(history)

    assert f"Event {one} " in str(line["detail"])


def test_a_cut_off_end_does_not_go_with_the_tables(history: History) -> None:
    without_updates(history)
    with history.database() as connection:
        connection.execute("DELETE FROM audit_event WHERE id > ?", (ids(history)[8],))

    found = differences(history)

    assert {line["check"] for line in found} == {"training", "updates", "versions"}
    assert any("not in the log" in str(line["detail"]) for line in found)


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("UPDATE model_version SET digest = digest('0') WHERE round = 1", "versions", "Version 1"),
        ("DELETE FROM model_version WHERE round = 1", "versions", "Version 1 is in the log"),
        ("UPDATE local_model SET sample_size = 99 WHERE round = 1", "updates", "sample_size is 99"),
        ("UPDATE local_model SET digest = digest('0')", "updates", "digest is"),
        ("DELETE FROM local_model WHERE round = 0", "updates", "is not in the database"),
        ("UPDATE local_moments SET sample_size = 99", "updates", "sample_size is 99"),
        ("UPDATE training SET state = 'E'", "training", "state is E"),
        ("DELETE FROM participant", "training", "takes part by the log only"),
        ("UPDATE local_model SET round_key = 'x:7' WHERE round = 0", "updates", "not in the log"),
    ],
)
def test_a_changed_row_is_named(history: History, statement: str, check: str, words: str) -> None:
    without_updates(history)
    with history.database() as connection:
        connection.create_function("digest", 1, lambda digit: digit * 64)
        connection.execute(statement)

    found = differences(history)

    assert found[0]["check"] == check
    assert any(words in str(line["detail"]) for line in found), found


def test_a_changed_byte_and_a_missing_file_are_named_with_their_round(history: History) -> None:
    with history.database() as connection:
        rows = connection.execute("SELECT digest FROM local_model WHERE round = 1 ORDER BY id")
        changed, missing = (history.blob_path(digest) for (digest,) in rows.fetchall())
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    missing.unlink()

    found = differences(history)

    assert [(line["check"], line["round"]) for line in found] == [("blobs", 1), ("blobs", 1)]
    sentences = [str(line["detail"]) for line in found]
    assert any(f"{changed.name} was changed" in sentence for sentence in sentences)
    assert any(f"{missing.name} should be kept and is missing" in s for s in sentences)


def test_an_operator_who_rewrites_the_chain_is_found_out_by_the_sum(history: History) -> None:
    """Log, tables and chain agree that an update had another weight: only the sum does not."""

    def lie(details: Line) -> None:
        details["updates"][0]["sample_size"] = 11  # type: ignore[index]
        wanted.append(details["updates"][0]["update"])  # type: ignore[index]

    wanted: list[str] = []
    edit_details(history, "round_aggregated", lie)
    with history.database() as connection:
        connection.execute("UPDATE local_model SET sample_size = 11 WHERE id = ?", (wanted[0],))
        connection.execute(
            "UPDATE audit_event SET details = replace(details, ':10}', ':11}') "
            "WHERE kind = 'update_accepted' AND round = 0"
        )
    history.rewrite_chain()

    (line,) = differences(history)

    assert (line["check"], line["round"]) == ("round", 0)
    assert "tensor 0.weight[0, 0] is " in str(line["detail"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda details: details["updates"].pop(), "leaves out"),
        (
            lambda details: details["updates"].append(details["updates"][0]),
            "counts something twice",
        ),
        (lambda details: details.update(base_digest="0" * 64), "starts from 0000"),
        (lambda details: details.update(updates=None), "cannot be understood"),
    ],
)
def test_a_consistent_chain_with_an_inconsistent_event_is_not_enough(
    history: History, change: Callable[[Line], object], words: str
) -> None:
    without_updates(history)
    edit_details(history, "round_aggregated", change)
    history.rewrite_chain()

    assert any(words in str(line["detail"]) for line in differences(history))


def test_an_unknown_training_and_a_missing_database_are_no_difference(
    history: History, tmp_path: Path
) -> None:
    unknown = uuid4()

    answers = [
        CliRunner().invoke(cli, arguments)
        for arguments in (
            ["verify", str(unknown), "--data-dir", str(history.data_dir)],
            ["verify", str(unknown), "--data-dir", str(tmp_path / "nothing")],
        )
    ]

    assert [type(answer.exception).__name__ for answer in answers] == ["CannotVerify"] * 2
    assert [getattr(answer.exception, "exit_code", None) for answer in answers] == [2, 2]
    assert str(unknown) in str(answers[0].exception)
    assert not (tmp_path / "nothing").exists()


def test_people_read_one_line_for_rounds_that_came_to_the_same(history: History) -> None:
    without_updates(history)

    result = CliRunner().invoke(
        cli, ["verify", str(history.training_id), "--data-dir", str(history.data_dir)]
    )

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[:2] for line in lines[:4]] == [
        *(["log", "verified"], ["training", "verified"]),
        *(["updates", "verified"], ["versions", "verified"]),
    ]
    assert lines[4].split() == ["round", "0-1", "not", "kept"]
    assert lines[-1].startswith("Verified")
    assert "\x1b" not in result.stdout
