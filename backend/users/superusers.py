"""There is always a superuser who can sign in, once there is one."""

from uuid import UUID

from backend.db.locks import lock_until_commit
from backend.db.tables import User
from backend.errors import Conflict

# Held by who decides by how many superusers there are.
SUPERUSERS_LOCK = 0x73_75_70_65_72


async def has_superuser() -> bool:
    """Whether anybody is a superuser."""
    return bool(await User.exists().where(User.superuser.eq(True)))


async def require_no_superuser() -> None:
    """Refuse to make the first superuser twice; runs inside a write transaction, first of all.

    Raises:
        Conflict: there is one.
    """
    await lock_until_commit(SUPERUSERS_LOCK)
    if await has_superuser():
        raise Conflict("There is a superuser already. Sign in, or ask them.")


async def require_another_superuser(user_id: UUID) -> None:
    """Refuse to be left without a superuser; runs inside a write transaction, first of all.

    Raises:
        Conflict: nobody but this user is one and can sign in.
    """
    await lock_until_commit(SUPERUSERS_LOCK)
    others = User.superuser.eq(True) & User.active.eq(True) & (User.id != user_id)
    if not await User.exists().where(others):
        raise Conflict("This is the last superuser who can sign in. Make another one first.")
