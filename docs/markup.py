"""Blocks of Markdown that generated pages are made of."""

import re
from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Text for a table, whose bars are not its columns'; in code a backslash would be shown."""
    return re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", text)


def document(blocks: Iterable[str]) -> str:
    """The page of these blocks."""
    return "\n\n".join(blocks) + "\n"
