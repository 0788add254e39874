"""Conditions of queries, put together."""

import functools
import operator
from collections.abc import Sequence

from piccolo.custom_types import Combinable


def any_of(conditions: Sequence[Combinable]) -> Combinable:
    """One condition, in pairs of pairs: SQLite refuses to parse a hundred nested ones."""
    while len(conditions) > 1:
        conditions = [
            functools.reduce(operator.or_, conditions[k : k + 2])
            for k in range(0, len(conditions), 2)
        ]
    return conditions[0]
