"""Where the server is and who asks: from arguments, or else from the environment."""

import os
from uuid import UUID

from starling_client.connection import Line
from starling_client.errors import MissingSetting

URL_VARIABLE = "STARLING_CLIENT_URL"
TOKEN_VARIABLE = "STARLING_CLIENT_TOKEN"  # noqa: S105 - its name, not a token
TRAINING_VARIABLE = "STARLING_CLIENT_TRAINING"
# How long a call waits for a server that is away before it gives up.
PATIENCE_SECONDS = 60.0


def line(url: str | None, token: str | None, patience_seconds: float) -> Line:
    """How to talk to the server.

    Raises:
        MissingSetting: neither an argument nor the environment says where it is, or who asks.
        WrongAddress: nothing can be asked there.
    """
    return Line(
        url=_required(url, URL_VARIABLE, "The address of the server"),
        token=_required(
            token, TOKEN_VARIABLE, "The token, which the answer to your registration had,"
        ),
        patience_seconds=patience_seconds,
    )


def anonymous_line(url: str | None, patience_seconds: float) -> Line:
    """How to talk to the server without credentials. Raises as `line`."""
    return Line(_required(url, URL_VARIABLE, "The address of the server"), None, patience_seconds)


def training_setting(given: str | UUID | None) -> str | None:
    """Which training; None: nobody says."""
    return str(given) if given else os.environ.get(TRAINING_VARIABLE) or None


def _required(given: str | None, variable: str, what: str) -> str:
    found = given or os.environ.get(variable, "")
    if not found:
        raise MissingSetting(f"{what} is missing: pass it, or set {variable}.")
    return found
