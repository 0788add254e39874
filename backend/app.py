"""`create_app`: the only place where the parts are wired together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from backend import DISTRIBUTION
from backend.accounts.controller import AccountController, invite
from backend.accounts.service import AccountService
from backend.audit.controller import audit_log
from backend.audit.feed import AuditFeed
from backend.console.controller import index, static_file
from backend.console.files import ConsoleFiles
from backend.db.engine import Database
from backend.dummy.controller import make_dummy
from backend.dummy.service import DummyService
from backend.error_answers import answer_error
from backend.forms import FormReader
from backend.groups.controller import GroupController
from backend.groups.service import GroupService
from backend.http_methods import answer_options
from backend.inference.controller import predict
from backend.inference.service import InferenceService
from backend.metrics.controller import MetricController
from backend.metrics.service import MetricService
from backend.models.controller import ModelController
from backend.models.downloads import Downloads
from backend.models.service import ModelService
from backend.models.state_dicts import StateDictFiles
from backend.models.uploads import ModelUploads
from backend.notifications.controller import notifications
from backend.notifications.feed import Feed
from backend.notifications.pusher import Pusher
from backend.openapi import (
    complete_document,
    document,
    openapi_config,
    redoc,
    swagger_ui,
)
from backend.rounds.aggregation import Aggregation
from backend.rounds.callbacks import take_callback
from backend.rounds.coordinator import Coordinator
from backend.rounds.reconciler import Reconciler
from backend.security.authentication import AuthenticationMiddleware, Authenticator
from backend.security.content_negotiation import require_json_accepted
from backend.security.media_types import forbid_sniffing
from backend.security.presence import Presence
from backend.security.session_cookie import SessionCookie
from backend.security.sessions import Sessions
from backend.security.webhook_targets import WebhookPolicy
from backend.sessions.controller import SessionController, set_up
from backend.sessions.first_run import FirstRun
from backend.sessions.service import SessionService
from backend.settings import Settings
from backend.sweeper import sweep_forever
from backend.system.controller import HealthController, compute
from backend.trainings.controller import TrainingController, overview
from backend.trainings.service import TrainingService
from backend.uploads.controller import UploadController
from backend.uploads.protocol import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    UPLOADS_PATH,
    protocol_headers,
)
from backend.uploads.service import PartialUploads
from backend.users.controller import UserController
from backend.users.service import UserService
from backend.weights import Weights
from compute.blobs import BlobStore
from compute.contract import CALLBACK_PATH, CallbackTarget
from compute.gateway import ComputeGateway, ComputeUnavailable

logger = logging.getLogger(__name__)

CONNECT_PAUSE_SECONDS = 2.0


def create_app(
    settings: Settings,
    *,
    blobs: BlobStore,
    secret: str,
    gateway: ComputeGateway,
    on_compute_ready: Callable[[], None] = lambda: None,
) -> Litestar:
    """The web application over a migrated database.

    Args:
        blobs: Where weights are kept.
        secret: Tokens and the keys of webhooks are made from it; signs callbacks.
        gateway: Started when the application starts, stopped when it ends.
        on_compute_ready: Called once compute takes work.
    """
    database = Database(settings.storage.database)
    weights = Weights(blobs)
    webhooks = WebhookPolicy(
        allow_loopback=settings.http.listens_on_loopback or settings.access.webhook_allow_loopback,
        public_only=settings.access.webhook_public_only,
    )
    feed = Feed()
    audit_feed = AuditFeed()
    pusher = Pusher(database, webhooks, secret=secret, feed=feed)
    presence = Presence(database)
    callback = CallbackTarget(url=settings.http.base_url + CALLBACK_PATH, secret=secret)
    aggregation = Aggregation(gateway=gateway, blob_url=settings.storage.blobs, callback=callback)
    coordinator = Coordinator(
        database=database,
        weights=weights,
        pusher=pusher,
        aggregation=aggregation,
        audit_feed=audit_feed,
    )
    reconciler = Reconciler(coordinator=coordinator, aggregation=aggregation, gateway=gateway)
    base_url = settings.http.base_url
    partial_uploads = PartialUploads(
        database=database,
        blobs=blobs,
        folder=settings.storage.data_dir / "uploads",
        max_upload_bytes=settings.http.max_upload_bytes,
    )
    forms = FormReader(
        weights.blobs,
        partial_uploads,
        max_upload_bytes=settings.http.max_upload_bytes,
        max_body_bytes=settings.http.max_body_bytes,
    )
    access = settings.access
    sessions = Sessions(database, idle_seconds=access.session_idle_seconds)
    session_cookie = SessionCookie(base_url)
    authenticator = Authenticator(presence, sessions, access.password_hashing)
    users = UserService(
        database,
        secret,
        webhooks=webhooks,
        registration=access.registration,
        password_hashing=access.password_hashing,
    )
    accounts = AccountService(
        database, secret, base_url=base_url, password_hashing=access.password_hashing
    )
    first_run = FirstRun(users, base_url=base_url)
    injected: dict[str, object] = {
        "database": database,
        "weights": weights,
        "forms": forms,
        "partial_uploads": partial_uploads,
        "gateway": gateway,
        "callback_target": callback,
        "coordinator": coordinator,
        "model_service": ModelService(
            database=database, weights=weights, base_url=base_url, audit_feed=audit_feed
        ),
        "uploads": ModelUploads(
            database=database, gateway=gateway, weights=weights, coordinator=coordinator
        ),
        "downloads": Downloads(blobs, StateDictFiles(gateway=gateway, blobs=blobs)),
        "inference": InferenceService(gateway, forms),
        "user_service": users,
        "account_service": accounts,
        "session_service": SessionService(
            sessions=sessions,
            authenticator=authenticator,
            users=users,
            accounts=accounts,
            first_run=first_run,
            registration=access.registration,
            version=version(DISTRIBUTION),
        ),
        "session_cookie": session_cookie,
        "console_files": ConsoleFiles(),
        "group_service": GroupService(database),
        "dummies": DummyService(database=database, gateway=gateway, secret=secret),
        "training_service": TrainingService(
            database=database, coordinator=coordinator, presence=presence, base_url=base_url
        ),
        "metric_service": MetricService(database=database, coordinator=coordinator),
        "feed": feed,
        "audit_feed": audit_feed,
        "presence": presence,
    }

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await database.open()
        await database.warn_unless_durable()
        await feed.open()
        await first_run.announce()
        tasks = [
            asyncio.create_task(_connect(gateway, on_compute_ready)),
            asyncio.create_task(pusher.run()),
            asyncio.create_task(reconciler.run()),
            asyncio.create_task(
                sweep_forever(
                    weights,
                    partial_uploads,
                    sessions,
                    grace_seconds=settings.storage.orphan_grace_seconds,
                )
            ),
            asyncio.create_task(feed.run()),
            asyncio.create_task(audit_feed.run()),
            asyncio.create_task(presence.run()),
        ]
        for task in tasks:
            task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await aggregation.stop()
            await gateway.stop()
            await presence.flush()
            await database.close()

    async def before_request(request: Request[object, object, State]) -> Response[None] | None:
        if (options := answer_options(request)) is not None:
            if request.url.path.startswith(UPLOADS_PATH):
                options.headers.update(protocol_headers(settings.http.max_upload_bytes))
            return options
        await require_json_accepted(request)
        return None

    app = _Application(
        route_handlers=[
            SessionController,
            set_up,
            UserController,
            AccountController,
            invite,
            notifications,
            GroupController,
            ModelController,
            TrainingController,
            overview,
            audit_log,
            MetricController,
            predict,
            UploadController,
            HealthController,
            compute,
            *([make_dummy] if settings.http.debug else []),
            take_callback,
            document,
            swagger_ui,
            redoc,
            index,
            static_file,
        ],
        dependencies={
            name: Provide(_always(part), sync_to_thread=False) for name, part in injected.items()
        },
        middleware=[DefineMiddleware(AuthenticationMiddleware)],
        before_request=before_request,
        before_send=[forbid_sniffing],
        cors_config=_cors_config(settings),
        exception_handlers={Exception: answer_error},
        openapi_config=openapi_config(version(DISTRIBUTION), session_cookie=session_cookie.name),
        state=State(
            {
                "authenticator": authenticator,
                "session_cookie": session_cookie,
                "feeds": (feed, audit_feed),
            }
        ),
        lifespan=[lifespan],
        request_max_body_size=settings.http.max_body_bytes,
        debug=False,
        logging_config=None,
    )
    complete_document(app.openapi_schema)
    return app


class _Application(Litestar):
    """Litestar with msgspec alone."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        # By default there is one for every library that is installed: Ray brings pydantic along,
        # which no schema of ours needs and takes up to 9 MiB.
        return [*plugins, MsgspecDIPlugin()]


def _cors_config(settings: Settings) -> CORSConfig | None:
    """Which pages may call the API; no cookie goes along, they send credentials in the header."""
    if not settings.access.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.access.cors_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        allow_headers=[
            *("Authorization", "Content-Type", "Accept", "Last-Event-ID"),
            *("Range", "If-Range", "If-None-Match"),
            *REQUEST_HEADERS,
        ],
        expose_headers=[
            *("Content-Disposition", "ETag", "Retry-After"),
            *("Accept-Ranges", "Content-Range", "Repr-Digest", "Starling-Round"),
            *RESPONSE_HEADERS,
        ],
    )


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a background task of the server died; restart it", exc_info=error)


def _always(part: object) -> Callable[[], object]:
    return lambda: part


async def _connect(gateway: ComputeGateway, on_ready: Callable[[], None]) -> None:
    """Start compute behind the API, which answers meanwhile; try until it works."""
    while True:
        try:
            await gateway.start()
        except ComputeUnavailable as error:
            logger.warning("compute is not available: %s", error)
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)
        else:
            on_ready()
            logger.info("compute takes work")
            return
