"""What a server may and may not have in its log when parts of it were killed."""

import re

_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (?P<level>[A-Z]+) (?P<logger>[\w.]+): ")
_BAD_LEVELS = frozenset({"ERROR", "CRITICAL"})

# Whatever passes is a warning of one line. These are not:
EXPECTED: tuple[re.Pattern[str], ...] = (
    # Ray was killed while it started, or was asked for something: the server replaces itself.
    re.compile(r"ERROR compute\.ray_gateway: Ray's head died while Ray was started$"),
    re.compile(r"ERROR compute\.ray_gateway: A call still waits for the head of the cluster that"),
    re.compile(r"CRITICAL backend\.cli: the server cannot go on, for Ray waits in it for ever;"),
    # PostgreSQL is away; asyncpg's pool goes on trying.
    re.compile(r"WARNING asyncpg\.pool: Failed to restore the pool connection floor; retrying"),
)


def unexpected(text: str) -> list[str]:
    """Entries that say that something went wrong which nothing that was killed explains.

    An entry is a line of the log with the lines that belong to it, such as a traceback.
    """
    return [
        entry
        for entry in _entries(text)
        if _is_bad(entry) and not any(pattern.search(entry) for pattern in EXPECTED)
    ]


def _entries(text: str) -> list[str]:
    entries: list[str] = []
    for line in text.splitlines():
        if _LINE.match(line) or not entries:
            entries.append(line)
        else:
            entries[-1] += f"\n{line}"
    return entries


def _is_bad(entry: str) -> bool:
    found = _LINE.match(entry)
    level = found["level"] if found else ""
    return level in _BAD_LEVELS or "Traceback (most recent call last)" in entry
