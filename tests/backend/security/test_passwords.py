"""How passwords are kept."""

import pytest

from backend.security.passwords import PasswordVerifier, hash_password
from backend.settings import PasswordHashing


@pytest.mark.parametrize(
    ("hashing", "parameters"), [("rfc9106", "m=65536,t=3,p=4"), ("owasp", "m=19456,t=2,p=1")]
)
async def test_a_stored_password_says_what_it_took(
    hashing: PasswordHashing, parameters: str
) -> None:
    stored = await hash_password("a password", hashing)
    assert stored.startswith(f"$argon2id$v=19${parameters}$")
    assert "a password" not in stored


async def test_unless_told_otherwise_it_takes_the_most() -> None:
    assert "$m=65536,t=3,p=4$" in await hash_password("a password")


@pytest.mark.parametrize("before", ["rfc9106", "owasp"])
@pytest.mark.parametrize("now", ["rfc9106", "owasp"])
async def test_who_has_a_password_gets_in_after_the_setting_changed(
    before: PasswordHashing, now: PasswordHashing
) -> None:
    stored = await hash_password("a password", before)
    verifier = PasswordVerifier(now)
    assert await verifier.verify(stored, "a password")
    assert not await verifier.verify(stored, "another password")
    assert not await verifier.verify(None, "a password")
