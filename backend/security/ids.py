"""Ids in paths and bodies."""

from uuid import UUID

from backend.errors import NotFound


def parse_id(noun: str, given: str) -> UUID:
    """The UUID that was given, dashless and upper-case ones too.

    Args:
        noun: What it should name, as the contract says it: User, Model, GlobalModel, Training.

    Raises:
        NotFound: it is no UUID, so it names nothing.
    """
    try:
        return UUID(given)
    except ValueError as error:
        raise NotFound(noun, given) from error
