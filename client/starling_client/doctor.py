"""Looks for what keeps a participant from taking part, and says what to do about it."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from importlib.metadata import version

import msgspec

from starling_client.calls import Call, Operation, decoded, fetch
from starling_client.course import canonical_id
from starling_client.errors import (
    NotAllowed,
    NotAuthenticated,
    NotFound,
    ServerBusy,
    StarlingError,
    UnknownTraining,
    Unreachable,
    WrongAddress,
)
from starling_client.wire import Training, TrainingListed, User

# The server refuses nothing for its date, but webhooks older than five minutes are refused here.
TOLERATED_SKEW_SECONDS = 60.0


class Verdict(Enum):
    """How a finding is to be taken."""

    GOOD = "✓"
    WARNING = "!"
    BAD = "✗"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it.

    Attributes:
        advice: Empty where nothing is to be done.
    """

    verdict: Verdict
    subject: str
    found: str
    advice: str = ""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.verdict.value} {self.subject:<12} {self.found}"
        if self.advice:
            yield f"  {'':<12} → {self.advice}"


class _Readiness(msgspec.Struct, frozen=True):
    database: str = "ok"
    blob_store: str = "ok"
    compute: str = "ok"


class _Server(msgspec.Struct, frozen=True):
    version: str


def examine(url: str, training: str | None) -> Operation[list[Finding]]:
    """Everything that can be looked at; stops where nothing further could be found out.

    Args:
        training: To be looked at too.
    """
    findings = [_own_versions()]
    try:
        answer = yield Call("GET", "/health/live/")
        decoded(answer, dict[str, str])
    except (Unreachable, ServerBusy, WrongAddress, NotFound) as error:
        return [*findings, Finding(Verdict.BAD, "address", error.detail, _advice(url, error))]
    milliseconds = answer.elapsed.total_seconds() * 1000
    findings.append(Finding(Verdict.GOOD, "address", f"{url} answers in {milliseconds:.0f} ms."))
    if (clock := clock_finding(answer.headers.get("Date"), datetime.now(UTC))) is not None:
        findings.append(clock)
    findings.append((yield from _server_version()))
    findings.append((yield from _readiness()))
    try:
        me = yield from fetch(Call("GET", "/api/users/myself/"), User)
    except NotAuthenticated as error:
        advice = (
            "Use the token that the answer to your registration had, or have it renewed. "
            "starling-client register makes a new user."
        )
        return [*findings, Finding(Verdict.BAD, "credentials", error.detail, advice)]
    findings.append(Finding(Verdict.GOOD, "credentials", f"{me.username}, user id {me.id}."))
    findings.append((yield from _trainings(me, training)))
    return findings


def clock_finding(date: str | None, now: datetime) -> Finding | None:
    """How far this clock is from the server's; None when the server does not say.

    Args:
        date: `Date` header of an answer that has just come.
    """
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    # The header has whole seconds, so it may lie up to one behind.
    skew = max((abs(now - theirs) - timedelta(seconds=1)).total_seconds(), 0.0)
    if skew <= TOLERATED_SKEW_SECONDS:
        return Finding(Verdict.GOOD, "clock", "This clock and the server's agree.")
    return Finding(
        Verdict.WARNING,
        "clock",
        f"This clock is {skew:.0f} s {'ahead of' if now > theirs else 'behind'} the server's.",
        "Switch time synchronisation on: deadlines look wrong, and signed webhooks are refused "
        "when they seem older than five minutes.",
    )


def _own_versions() -> Finding:
    own = f"starling-client {version('starling-client')}, Python {platform.python_version()}"
    try:
        import torch
    except (ImportError, OSError) as error:
        found = f"{own}; PyTorch cannot be loaded: {error}."
        return Finding(Verdict.BAD, "versions", found, "Install PyTorch again.")
    return Finding(Verdict.GOOD, "versions", f"{own}, torch {torch.__version__}.")


def _advice(url: str, error: StarlingError) -> str:
    if isinstance(error, ServerBusy):
        return "Something answers, but not the server: it may be starting. Ask its operator."
    if not isinstance(error, Unreachable):
        return "Ask the operator for the address; it has no path behind the host."
    if "certificate" in error.detail.lower():
        return "Set SSL_CERT_FILE to the certificate of your organisation's authority."
    return (
        f"Try: curl {url.rstrip('/')}/health/live/ . Behind a proxy, set HTTPS_PROXY (NO_PROXY for "
        "what is reached directly); otherwise ask the operator whether the server runs."
    )


def _server_version() -> Operation[Finding]:
    own = version("starling-client")
    try:
        server = yield from fetch(Call("GET", "/api/session/"), _Server)
    except StarlingError as error:
        return Finding(Verdict.WARNING, "server", f"It does not tell its version: {error.detail}")
    theirs = server.version
    if theirs.split(".")[:2] == own.split(".")[:2]:
        return Finding(Verdict.GOOD, "server", f"Starling {theirs}.")
    return Finding(
        Verdict.WARNING,
        "server",
        f"Starling {theirs}, this client is {own}.",
        f"Install the client of the server's version: pip install 'starling-client=={theirs}'.",
    )


def _readiness() -> Operation[Finding]:
    try:
        yield from fetch(Call("GET", "/health/ready/", retried=False), _Readiness)
    except ServerBusy:
        return Finding(
            Verdict.WARNING,
            "parts",
            "The server runs, but its database, its blob store or its compute cluster does not.",
            "Participants may start: they wait until it is well. Its log tells its operator more.",
        )
    return Finding(Verdict.GOOD, "parts", "Database, blob store and compute cluster work.")


def _trainings(me: User, training: str | None) -> Operation[Finding]:
    if training is None:
        listed = yield from fetch(Call("GET", "/api/users/trainings/"), list[TrainingListed])
        going = [str(one.id) for one in listed if not one.state.is_over]
        if going:
            return Finding(Verdict.GOOD, "trainings", f"Not over: {', '.join(going)}.")
        advice = f"Ask an actor to invite you, by your user name {me.username}."
        return Finding(Verdict.WARNING, "trainings", "There is none that is not over.", advice)
    try:
        path = f"/api/trainings/{canonical_id(training)}/"
        found = yield from fetch(Call("GET", path), Training)
    except (UnknownTraining, NotFound) as error:
        advice = "Ask its actor for the id; without --training, doctor lists yours."
        return Finding(Verdict.BAD, "training", error.detail, advice)
    except NotAllowed as error:
        advice = f"Ask its actor to invite you, by your user name {me.username}."
        return Finding(Verdict.BAD, "training", error.detail, advice)
    if found.state.is_over:
        ended = found.error or "It is complete."
        return Finding(Verdict.WARNING, "training", f"It is over: {ended}")
    if me.id not in found.participants:
        advice = f"To take part too, invite {me.username}."
        return Finding(Verdict.WARNING, "training", "You run it and take no part in it.", advice)
    return Finding(
        Verdict.GOOD,
        "training",
        f"You take part in it; {len(found.participants)} participants, round "
        f"{found.round + 1} of {found.target_num_updates}"
        f"{', not started yet' if found.phase is None else f', {found.phase.value}'}.",
    )
