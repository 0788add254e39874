"""Signatures of webhooks, as the Standard Webhooks specification has them (version 1.0.0).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from uuid import UUID

SECRET_PREFIX = "whsec_"  # noqa: S105 - marks a secret, is none


def derive_webhook_secret(secret: str, user_id: UUID, generation: int) -> str:
    """The key that a user's webhooks are signed with, `whsec_` and base64 of 32 bytes.

    Args:
        secret: The server's.
        generation: That of the user's token: a new token comes with a new key.
    """
    message = f"webhook:{user_id.hex}:{generation}".encode()
    key = hmac.new(secret.encode(), message, hashlib.sha256).digest()
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signature_headers(
    webhook_secret: str, message_id: str, timestamp: int, payload: bytes
) -> dict[str, str]:
    """The three headers by which a receiver knows who sent `payload`, and when.

    Args:
        message_id: The same at each attempt; without a full stop.
        timestamp: Of this attempt, seconds since 1970.
    """
    key = base64.b64decode(webhook_secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + payload
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
