from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.security.invitations import new_invitation, read_invitation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_an_invitation_holds_until_it_expires() -> None:
    code = new_invitation("secret", HOUR, now=NOW)

    read = read_invitation("secret", code, now=NOW + HOUR - timedelta(seconds=1))

    assert read is not None
    assert read.expires_at == NOW + HOUR
    assert read_invitation("secret", code, now=NOW + HOUR) is None


def test_each_invitation_has_a_number_of_its_own() -> None:
    numbers = {
        read.number
        for _ in range(100)
        if (read := read_invitation("s", new_invitation("s", HOUR, now=NOW), now=NOW))
    }

    assert len(numbers) == 100


def test_another_servers_invitation_is_none() -> None:
    assert read_invitation("theirs", new_invitation("ours", HOUR, now=NOW), now=NOW) is None


@given(position=st.integers(0, 200), replacement=st.characters())
def test_a_changed_invitation_is_none(position: int, replacement: str) -> None:
    code = new_invitation("secret", HOUR, now=NOW)
    position %= len(code)
    changed = code[:position] + replacement + code[position + 1 :]

    if changed.strip() != code:
        assert read_invitation("secret", changed, now=NOW) is None


@given(st.text())
def test_no_text_is_one(text: str) -> None:
    assert read_invitation("secret", text, now=NOW) is None
