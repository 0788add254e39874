"""API tokens: derived from the server's secret, stored as a hash.

The contract shows users their token again at `GET /api/users/{own id}/`, so it cannot be random
and stored hashed only. It is an HMAC of the user's id instead: the database alone reveals no token,
and the server can still show one to its owner.
"""

import hashlib
import hmac
from uuid import UUID

TOKEN_LENGTH = 40


def derive_token(secret: str, user_id: UUID, generation: int) -> str:
    """The API token of a user, 40 hex digits.

    Args:
        generation: Raised to replace a token; every value gives another one.
    """
    message = f"token:{user_id.hex}:{generation}".encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()[:TOKEN_LENGTH]


def hash_token(token: str) -> str:
    """What is stored of a token; it has enough entropy to need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
