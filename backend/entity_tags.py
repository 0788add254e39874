"""Entity tags (RFC 9110, section 8.8.3)."""

import re

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def names_tag(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` header lists the entity tag, or `*`."""
    if header is None:
        return False
    return header.strip() == "*" or tag in _ENTITY_TAG.findall(header)
