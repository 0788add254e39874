"""What an `Authorization` header claims, in the three ways of the contract."""

import base64
import binascii

import msgspec

from backend.errors import NO_CREDENTIALS, NotAuthenticated

WRONG_PASSWORD = "Invalid username/password."  # noqa: S105 - a message
WRONG_TOKEN = "Invalid token."  # noqa: S105 - a message


class PasswordCredentials(msgspec.Struct, frozen=True):
    """A user's name and password."""

    username: str
    password: str


class TokenCredentials(msgspec.Struct, frozen=True):
    """An API token."""

    token: str


Credentials = PasswordCredentials | TokenCredentials


def parse_authorization(header: str | None) -> Credentials:
    """The credentials in an `Authorization` header.

    Raises:
        NotAuthenticated: none are given, or they are malformed, with the contract's words.
    """
    if header is None:
        raise NotAuthenticated(NO_CREDENTIALS)
    scheme, *parts = header.split() or [""]
    match scheme.lower():
        case "token":
            return TokenCredentials(_only_part("token", "Token string", parts))
        case "basic":
            return _parse_basic(_only_part("basic", "Credentials string", parts))
        case _:
            raise NotAuthenticated(NO_CREDENTIALS)


def _only_part(kind: str, subject: str, parts: list[str]) -> str:
    match parts:
        case [part]:
            return part
        case []:
            raise NotAuthenticated(f"Invalid {kind} header. No credentials provided.")
        case _:
            raise NotAuthenticated(f"Invalid {kind} header. {subject} should not contain spaces.")


def _parse_basic(encoded: str) -> Credentials:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAuthenticated(
            "Invalid basic header. Credentials not correctly base64 encoded."
        ) from error
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = decoded.decode("latin-1")
    username, colon, password = text.partition(":")
    if not colon:
        raise NotAuthenticated("Invalid basic header. Credentials not correctly base64 encoded.")
    if "\0" in text:
        # No stored name or token has one, and PostgreSQL refuses to compare it.
        raise NotAuthenticated(WRONG_PASSWORD)
    return PasswordCredentials(username, password) if password else TokenCredentials(username)
