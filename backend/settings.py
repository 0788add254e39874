"""Settings of a server, read once from STARLING_* variables and flags.

The only module that reads the environment. Every other part is handed the struct it needs.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from backend.errors import BadSetting

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound here

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
# Up to a day; also refuses what is no number or has no end.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Registration = Literal["open", "invitation", "closed"]
PasswordHashing = Literal["rfc9106", "owasp"]
DEFAULT_HASHING: PasswordHashing = "rfc9106"


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens and what it takes.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0: any free one.
        debug: Whether every request is logged and demo data is served to anybody.
        public_url: How participants and compute workers reach this server; no trailing slash.
        max_upload_bytes: Largest accepted body of a model upload.
        max_body_bytes: Largest accepted body of any other request.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    debug: bool = False
    public_url: str | None = None
    max_upload_bytes: PositiveInt = 4 * 1024**3
    max_body_bytes: PositiveInt = 16 * 1024**2

    @property
    def base_url(self) -> str:
        """Public URL, or the address listened on as seen from this machine."""
        if self.public_url is not None:
            return self.public_url
        host = "127.0.0.1" if self.host in WILDCARD_HOSTS else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def listens_on_loopback(self) -> bool:
        """Whether nobody outside this machine can reach the server, through a proxy either."""
        public_host = urlsplit(self.base_url).hostname
        return self.host in LOOPBACK_HOSTS and public_host in LOOPBACK_HOSTS


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the truth is kept.

    Attributes:
        data_dir: Folder of the SQLite database, the local blobs and the secret.
        database_url: `sqlite:///path` or `postgresql://user:password@host/name`; unset: SQLite
            in the data directory.
        blob_url: `file:///path` or `s3://bucket/prefix`; unset: a folder in the data directory.
            It is this server's alone: what the database does not know is deleted from it.
        orphan_grace_seconds: How old a blob is before it is deleted for want of a row about it.
    """

    data_dir: Path
    database_url: str | None = None
    blob_url: str | None = None
    orphan_grace_seconds: Seconds = 3600.0

    @property
    def database(self) -> str:
        """URL of the database in use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'starling.sqlite'}"

    @property
    def blobs(self) -> str:
        """URL of the blob store in use."""
        return self.blob_url or (self.data_dir / "blobs").as_uri()


class ComputeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which Ray cluster aggregates and predicts.

    Attributes:
        ray_address: Cluster to connect to; unset: one is started inside this server.
        dashboard: Whether an embedded cluster serves the Ray dashboard.
        dashboard_port: Port of the embedded cluster's dashboard; a free one if it is taken.
        check_timeout_seconds: An upload that takes longer to check is refused.
        predict_timeout_seconds: A model that takes longer to answer is refused.
        keep_ready: Whether workers load torch before somebody waits for them.
    """

    ray_address: str | None = None
    dashboard: bool = True
    dashboard_port: Port = 8265
    check_timeout_seconds: Seconds = 60.0
    predict_timeout_seconds: Seconds = 30.0
    keep_ready: bool = True


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in, and where the server may call out.

    Attributes:
        registration: Who may create users: anybody, who has an invitation, or superusers only.
        password_hashing: What argon2id takes for a password set from now on: RFC 9106's low-memory
            profile (64 MiB, 3 passes, 4 lanes), or the least that OWASP recommends (19 MiB, 2
            passes, 1 lane), an eighth of the work.
        session_idle_seconds: A browser that was not used for so long has to sign in again.
        trusted_proxies: Addresses or networks whose X-Forwarded-For is believed; `*` for any.
        cors_origins: Origins whose pages may call the API from a browser; `*` for any.
        webhook_allow_loopback: Whether webhooks may go to this machine although others reach it.
        webhook_public_only: Whether webhooks may not go to private networks.
    """

    registration: Registration = "open"
    password_hashing: PasswordHashing = DEFAULT_HASHING
    session_idle_seconds: Seconds = 12 * 3600.0
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    webhook_allow_loopback: bool = False
    webhook_public_only: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set.

    Attributes:
        secret: What tokens, invitations, webhook keys and callbacks are made with, at least 32
            characters; unset: made once and kept in the data directory.
    """

    http: HttpSettings
    storage: StorageSettings
    compute: ComputeSettings
    access: AccessSettings = AccessSettings()
    secret: str | None = None


class Variable(msgspec.Struct, frozen=True):
    """One setting as an operator sees it."""

    name: str
    group: Literal["http", "storage", "compute", "access", ""]
    field: str
    meaning: str


VARIABLES: tuple[Variable, ...] = (
    Variable("STARLING_HOST", "http", "host", "address to listen on"),
    Variable("STARLING_PORT", "http", "port", "port to listen on"),
    Variable("STARLING_DEBUG", "http", "debug", "log every request; enables demo data"),
    Variable("STARLING_PUBLIC_URL", "http", "public_url", "URL that participants reach"),
    Variable("STARLING_MAX_UPLOAD_BYTES", "http", "max_upload_bytes", "largest model upload"),
    Variable("STARLING_DATA_DIR", "storage", "data_dir", "folder of database, blobs and secret"),
    Variable("STARLING_DATABASE_URL", "storage", "database_url", "sqlite:/// or postgresql:// URL"),
    Variable("STARLING_BLOB_URL", "storage", "blob_url", "file:/// or s3:// URL"),
    Variable(
        "STARLING_ORPHAN_GRACE_SECONDS",
        "storage",
        "orphan_grace_seconds",
        "age at which a blob that nothing refers to is deleted",
    ),
    Variable("STARLING_RAY_DASHBOARD", "compute", "dashboard", "serve the embedded Ray dashboard"),
    Variable("STARLING_RAY_DASHBOARD_PORT", "compute", "dashboard_port", "its port"),
    Variable(
        "STARLING_CHECK_TIMEOUT_SECONDS",
        "compute",
        "check_timeout_seconds",
        "longest check of an upload",
    ),
    Variable(
        "STARLING_PREDICT_TIMEOUT_SECONDS",
        "compute",
        "predict_timeout_seconds",
        "longest prediction of a model",
    ),
    Variable(
        "STARLING_KEEP_WORKERS_READY",
        "compute",
        "keep_ready",
        "load torch before somebody waits for it (1 GiB of memory)",
    ),
    Variable("RAY_ADDRESS", "compute", "ray_address", "Ray cluster to use instead of embedded"),
    Variable("STARLING_REGISTRATION", "access", "registration", "open, invitation or closed"),
    Variable(
        "STARLING_PASSWORD_HASHING",
        "access",
        "password_hashing",
        "rfc9106 (64 MiB a password), or owasp (19 MiB) for small machines",
    ),
    Variable(
        "STARLING_SESSION_IDLE_SECONDS",
        "access",
        "session_idle_seconds",
        "time without use after which a browser has to sign in again",
    ),
    Variable(
        "STARLING_TRUSTED_PROXIES",
        "access",
        "trusted_proxies",
        "addresses or networks whose X-Forwarded-For is believed, comma separated",
    ),
    Variable(
        "STARLING_CORS_ORIGINS",
        "access",
        "cors_origins",
        "origins whose pages may call the API, comma separated",
    ),
    Variable(
        "STARLING_WEBHOOK_ALLOW_LOOPBACK",
        "access",
        "webhook_allow_loopback",
        "send webhooks to this machine too",
    ),
    Variable(
        "STARLING_WEBHOOK_PUBLIC_ONLY",
        "access",
        "webhook_public_only",
        "send no webhooks to private networks",
    ),
    Variable("STARLING_SECRET", "", "secret", "key that signs tokens and callbacks"),
)

_GROUPS: dict[str, type[msgspec.Struct]] = {
    "http": HttpSettings,
    "storage": StorageSettings,
    "compute": ComputeSettings,
    "access": AccessSettings,
}


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment, each overridden by the flag of the same field name.

    Args:
        flags: Field name to value, for flags that were given on the command line.

    Raises:
        BadSetting: a value is malformed; the message names its variable.
    """
    grouped: dict[str, dict[str, object]] = {group: {} for group in (*_GROUPS, "")}
    grouped["storage"]["data_dir"] = str(Path.home() / ".starling")
    for variable in VARIABLES:
        given = flags.get(variable.field, environ.get(variable.name) or None)
        if given is not None:
            grouped[variable.group][variable.field] = _converted(variable, given)
    settings = Settings(
        http=msgspec.convert(grouped["http"], HttpSettings),
        storage=msgspec.convert(grouped["storage"], StorageSettings, dec_hook=_decode_path),
        compute=msgspec.convert(grouped["compute"], ComputeSettings),
        access=msgspec.convert(grouped["access"], AccessSettings),
        secret=msgspec.convert(grouped[""].get("secret"), str | None),
    )
    _check_urls(settings)
    _check_access(settings.access)
    return settings


def _decode_path(wanted: type, given: object) -> Path:
    if wanted is Path and isinstance(given, str | Path):
        return Path(given).expanduser().absolute()
    raise NotImplementedError


def _converted(variable: Variable, given: object) -> object:
    """The value in its field's type. Text comes from the environment, so numbers may be text."""
    if variable.group == "" or variable.field == "data_dir":
        return given
    fields = {f.name: f.type for f in msgspec.structs.fields(_GROUPS[variable.group])}
    if isinstance(given, str):
        given = given.strip()
        if fields[variable.field] == tuple[str, ...]:
            given = [part for part in map(str.strip, given.split(",")) if part]
    try:
        return msgspec.convert(given, fields[variable.field], strict=False)
    except msgspec.ValidationError as error:
        wanted = "give true or false" if fields[variable.field] is bool else error
        raise BadSetting(f"{variable.name} is {given!r}: {wanted}.") from error


def _scheme(name: str, url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError as error:
        raise BadSetting(f"{name} is no URL: {error}.") from error


def _check_urls(settings: Settings) -> None:
    checks = (
        ("STARLING_PUBLIC_URL", settings.http.public_url, ("http", "https")),
        ("STARLING_DATABASE_URL", settings.storage.database_url, ("sqlite", "postgresql")),
        ("STARLING_BLOB_URL", settings.storage.blob_url, ("file", "s3")),
    )
    for name, url, schemes in checks:
        if url is None:
            continue
        if _scheme(name, url) not in schemes:
            wanted = " or ".join(f"{scheme}://" for scheme in schemes)
            raise BadSetting(f"{name} must start with {wanted}.")
        for scheme in ("sqlite", "file"):
            if url.startswith(f"{scheme}:") and not url.startswith(f"{scheme}:///"):
                raise BadSetting(f"{name} needs an absolute path: {scheme}:///path.")
    if settings.http.public_url is not None and settings.http.public_url.endswith("/"):
        raise BadSetting("STARLING_PUBLIC_URL must not end with a slash.")
    if settings.secret is not None and len(settings.secret) < 32:
        raise BadSetting("STARLING_SECRET must have at least 32 characters.")


def _check_access(access: AccessSettings) -> None:
    for origin in access.cors_origins:
        parts = urlsplit(origin)
        is_origin = parts.scheme and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
        if origin != "*" and not is_origin:
            raise BadSetting(
                f"STARLING_CORS_ORIGINS has {origin!r}: an origin is scheme://host[:port], without "
                "a path or slash at the end."
            )
    for proxy in access.trusted_proxies:
        if proxy == "*":
            continue
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise BadSetting(f"STARLING_TRUSTED_PROXIES has {proxy!r}: {error}.") from error
