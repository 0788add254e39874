"""Sends webhooks to no other addresses than `backend.security.webhook_targets` allows."""

import httpcore
import httpx

from backend.security.webhook_targets import CheckedBackend, WebhookPolicy


class CheckedTransport(httpx.AsyncHTTPTransport):
    """An httpx transport over a `CheckedBackend`; the environment's proxies are not used."""

    def __init__(self, policy: WebhookPolicy, *, max_connections: int) -> None:
        # httpx's own certificates, and those that this machine trusts beyond them.
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        super().__init__(verify=context, trust_env=False)
        # httpx has no argument for the network backend of the pool that it makes.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=max_connections,
            network_backend=CheckedBackend(policy),
        )
