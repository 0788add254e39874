"""Pages of the documentation that are made from the code while the site is built.

A hook of mkdocs: what it returns from `on_files` becomes pages beside those in this folder. What
code says in one place is read there; where words are added here, a member without words ends the
build.
"""

import inspect
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, starmap
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click
import msgspec
from markup import document, table
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from sdk_reference import sdk_page, with_links
from starling_client.command_line import main as client

from backend.app import create_app
from backend.audit.events import AuditKind
from backend.cli import cli, serve
from backend.error_answers import OUTAGE_ANSWERS, STATUS
from backend.notifications.outbox import NotificationType
from backend.settings import (
    VARIABLES,
    AccessSettings,
    ComputeSettings,
    HttpSettings,
    Settings,
    StorageSettings,
    load_settings,
)
from backend.trainings.options import TrainingOptions, UncertaintyOptions
from backend.trainings.schemas import AggregationMethod
from compute.blobs import open_blob_store
from compute.cluster import RayConfig
from compute.contract import UncertaintyMethod
from compute.ray_gateway import RayGateway
from examples.digits.__main__ import main as demo

DOCUMENTS = Path(__file__).parent
WORDS: dict[type[msgspec.inspect.Type], str] = {
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.CustomType: "path",
    msgspec.inspect.StrType: "text",
    msgspec.inspect.StructType: "object, see below",
    msgspec.inspect.VarTupleType: "list, comma separated",
}
PEERS = ("Flower", "NVFlare")
PEERS_MARK = "<!-- rows of performance.md beside a peer -->"
METHODS = ("get", "post", "put", "patch", "delete")
SIGNED_IN = ("owner", "actor", "participant", "other", "superuser")
HELP_COLUMNS = 96
SDK = "reference/sdk.md"

SETTINGS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "http": ("Listening", HttpSettings),
    "storage": ("Storage", StorageSettings),
    "compute": ("Compute", ComputeSettings),
    "access": ("Access", AccessSettings),
    "": ("Secret", Settings),
}

# What the recipient does about it, and who the recipients are.
NOTIFICATIONS: dict[NotificationType, tuple[str, str, str]] = {
    NotificationType.TRAINING_START: (
        "participants",
        "`global_model_uuid`",
        "nothing yet: the model may be fetched ahead",
    ),
    NotificationType.UPDATE_ROUND_START: (
        "the round's participants",
        "`round`, `global_model_uuid`; `deadline`, `mu` where there are any",
        "fetch the model, train it, send the update for this round",
    ),
    NotificationType.SWAG_ROUND_START: (
        "the round's participants",
        "`round`, `global_model_uuid`; `deadline` where there is one",
        "send the moments of one's own iterates",
    ),
    NotificationType.MODEL_TEST_ROUND: (
        "the round's participants",
        "`round`, `global_model_uuid`; `deadline` where there is one",
        "fetch the model, test it on one's own data, report the metrics",
    ),
    NotificationType.TRAINING_FINISHED: (
        "participants and the actor",
        "`global_model_uuid`",
        "fetch the trained model; this training asks for nothing more",
    ),
    NotificationType.CLIENT_REMOVED: (
        "who was removed",
        "",
        "stop: what is delivered from now on is refused",
    ),
}

AUDIT_EVENTS: dict[AuditKind, str] = {
    AuditKind.TRAINING_CREATED: "the training was set up, with this model and these options",
    AuditKind.PARTICIPANTS_REGISTERED: "users became participants",
    AuditKind.PARTICIPANTS_REMOVED: "users are participants no more, and why",
    AuditKind.TRAINING_STARTED: "the actor started it",
    AuditKind.TRAINING_PAUSED: "the actor paused it",
    AuditKind.TRAINING_RESUMED: "the actor let it go on",
    AuditKind.TRAINING_COMPLETED: "the last round and its test are over",
    AuditKind.TRAINING_FAILED: "the server gave it up, and why",
    AuditKind.TRAINING_ABORTED: "the actor ended it",
    AuditKind.TRAINING_DELETED: "it was deleted; its log is kept",
    AuditKind.ROUND_OPENED: "participants were asked for updates, from this model on",
    AuditKind.COHORT_REDRAWN: "everybody drawn for the round had left; others were drawn",
    AuditKind.ROUND_EXTENDED: "there was no quorum at the deadline; the round waits once more",
    AuditKind.ROUND_CLOSED: "the round takes no more updates, why, and who was missing",
    AuditKind.ROUND_AGGREGATED: "these updates in this order gave this model",
    AuditKind.ROUND_HANDED_ON: "who continues whose model (FedDC)",
    AuditKind.UPDATE_ACCEPTED: "an update was stored for good",
    AuditKind.MOMENTS_ACCEPTED: "SWAG moments were stored for good",
    AuditKind.MOMENTS_CLOSED: "the SWAG round takes no more moments, why, and who was missing",
    AuditKind.MOMENTS_AGGREGATED: "these moments in this order gave these",
    AuditKind.TEST_REPORTED: "a participant reported a test of the global model",
    AuditKind.TESTS_CLOSED: "the test is over, why, and who was missing",
    AuditKind.UPDATE_DELETED: "an update was deleted",
    AuditKind.UPDATES_DELETED: "the updates of a round are not kept any more",
    AuditKind.VERSIONS_DELETED: "versions of the global model are not kept any more",
}


class Access(NamedTuple):
    """A row of access.md: who may do a request to what."""

    request: str
    subject: str
    cells: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """Those who may, in words."""
        *signed_in, anonymous = self.cells
        if anonymous == "yes":
            return "anybody"
        yes = [role for role, cell in zip(SIGNED_IN, signed_in, strict=True) if cell == "yes"]
        if len(yes) == len(SIGNED_IN):
            return "who is signed in"
        return ", ".join(yes) or "no user"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, made in PAGES.items():
        files.append(File.generated(config, path, content=made()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - the names are mkdocs'
    """Put the figures of peers where a page marks their place."""
    return markdown.replace(PEERS_MARK, beside_peers()) if PEERS_MARK in markdown else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - the names are mkdocs'
    """Link what code of the SDK's page names."""
    return with_links(html) if page.file.src_uri == SDK else html


def beside_peers() -> str:
    """The rows of performance.md that have a peer in them."""
    rows = []
    for line in (DOCUMENTS / "performance.md").read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if line.startswith("| ") and len(cells) >= 4 and any(peer in cells[2] for peer in PEERS):
            rows.append(cells[:4])
    return table(("what", "ours", "theirs", ""), rows)


def rest() -> str:
    """Every address, from the OpenAPI document and the table of access.md."""
    rows = access_rows()
    by_request: dict[str, list[Access]] = {}
    for row in rows:
        by_request.setdefault(without_slash(row.request), []).append(row)
    sections: dict[str, list[tuple[str, ...]]] = {}
    described = openapi_document()
    for path, item in described["paths"].items():
        for method in METHODS:
            if (operation := item.get(method)) is not None:
                request = f"{method.upper()} {path}"
                allowed = by_request.pop(without_slash(request))
                section = sections.setdefault(operation["tags"][0], [])
                section.append(operation_row(request, operation, allowed))
    text = [
        "# REST",
        (
            f"Version {described['info']['version']}. A server describes its own API at "
            "`/api/schema/swagger-ui/` and `/api/schema/redoc/`, with every field, and as an "
            "OpenAPI document at `/api/schema/` (`?format=json`). Ids are UUIDs, of groups and "
            "metrics integers. Addresses work with and without the slash at the end. The last "
            "column sums up [who may do what](../access.md), which says for each word what it "
            "means."
        ),
        (
            "Credentials: `Authorization: Token …`, Basic with user name and password, or the "
            "console's session cookie."
        ),
    ]
    for tag, operations in sections.items():
        text += [
            f"## {tag.capitalize()}",
            table(
                ("request", "what it does", "parameters", "takes", "answers", "who may"),
                sorted(operations),
            ),
        ]
    others = [
        (f"`{access.request}`", who(allowed))
        for allowed in by_request.values()
        for access in allowed[:1]
    ]
    text += [
        "## Outside the document",
        "The console's files, the document itself, and what compute workers call.",
        table(("request", "who may"), others),
        "## Refusals",
        (
            "Every refusal is a JSON object with `detail`, a sentence, and `errors` (field name "
            "to messages) where fields are at fault. The same request may be repeated after 5xx: "
            "what was stored is recognised."
        ),
        table(("status", "when"), refusals()),
    ]
    return document(text)


def operation_row(
    request: str, operation: Mapping[str, Any], allowed: list[Access]
) -> tuple[str, ...]:
    """One line of the REST tables."""
    parameters = [
        parameter["name"]
        for parameter in operation.get("parameters", [])
        if parameter["in"] in {"query", "header"}
    ]
    takes = operation.get("requestBody", {}).get("content", {})
    answers = [status for status in operation["responses"] if status.isdigit()]
    return (
        f"`{request}`",
        " ".join(operation["description"].split()),
        ", ".join(f"`{name}`" for name in parameters),
        ", ".join(f"`{each}`" for each in takes),
        ", ".join(answers),
        who(allowed),
    )


def who(rows: list[Access]) -> str:
    """Who may, of the rows about one request."""
    return "; ".join(
        f"*{row.subject}*: {row.allowed}" if row.subject else row.allowed for row in rows
    )


def refusals() -> Iterator[tuple[str, str]]:
    """Status and meaning of every error that a caller is told."""
    for error, status in sorted(STATUS.items(), key=lambda entry: entry[1]):
        yield str(status), first_line(error)
    for status, sentence in sorted(set(OUTAGE_ANSWERS.values())):
        yield str(status), sentence
    yield "500", "A mistake of the server's; it is in its log."


def access_rows() -> list[Access]:
    """The table of access.md."""
    rows = []
    for line in (DOCUMENTS / "access.md").read_text().splitlines():
        if line.startswith("| `"):
            request, subject, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows.append(Access(request.strip("`"), subject, tuple(cells)))
    return rows


def openapi_document() -> dict[str, Any]:
    """What a server with default settings answers at /api/schema/; nothing is started."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"data_dir": folder}, {})
        app = create_app(
            settings,
            blobs=open_blob_store(settings.storage.blobs),
            secret="for no token",  # noqa: S106 - nothing is signed with it
            gateway=RayGateway(RayConfig(blob_url=settings.storage.blobs)),
        )
        return app.openapi_schema.to_schema()


def command_line() -> str:
    """The help of every command."""
    text = [
        "# Command line",
        (
            "`starling` is in `.venv/bin` of a clone, and on the path of the container image. A "
            "wrong argument or setting ends it with exit code 2, whatever else keeps it from "
            "starting with 1; `verify` has [exit codes of its "
            "own](../audit.md#starling-verify-training_id)."
        ),
        (
            "`starling-client` comes with the [client library](../client.md), and ends with 1 "
            "after one of its [errors](sdk.md#starling_client.errors), and where `doctor` finds "
            "something that is in the way."
        ),
    ]
    programs = {"starling": cli, "starling-client": client}
    for name, command in chain.from_iterable(starmap(commands, programs.items())):
        program = programs[name.partition(" ")[0]]
        context = click.Context(
            command,
            info_name=name,
            terminal_width=HELP_COLUMNS,
            help_option_names=command.context_settings.get("help_option_names")
            or program.context_settings.get("help_option_names"),
        )
        text += [f"## `{name}`", f"```text\n{command.get_help(context)}\n```"]
    return document(text)


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, each with the words that call it."""
    # The server's command line hands all arguments on to the demo's own.
    yield name, (demo if name == "starling demo" else command)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            if (subcommand := command.get_command(context, each)) is not None:
                yield from commands(f"{name} {each}", subcommand)


def settings_page() -> str:
    """Every variable that a server reads."""
    flags = {option.name: option.opts[0] for option in serve.params}
    text = [
        "# Settings",
        (
            "Environment variables, which the server reads once, when a command starts; a flag of "
            "`starling serve` counts more than its variable, and an empty variable is none. What "
            "is malformed ends the command with exit code 2 and a line that names the variable."
        ),
    ]
    for group, (title, struct) in SETTINGS.items():
        described = attributes(struct)
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        rows = []
        for variable in VARIABLES:
            if variable.group == group:
                field = fields[variable.field]
                default = "`~/.starling`" if field.name == "data_dir" else shown_default(field)
                meaning = described.get(field.name) or f"{variable.meaning.capitalize()}."
                flag = whole(flags[field.name]) if field.name in flags else ""
                rows.append((f"`{variable.name}`", flag, kind(field.type), default, meaning))
        text += [f"## {title}", table(("variable", "flag", "value", "default", "meaning"), rows)]
    text += [
        "## Client",
        (
            "Read by `starling-client`, and the address, the token and the training also by the "
            "[SDK](sdk.md), where they are not passed; a flag or an argument counts more."
        ),
        table(("variable", "flag", "of", "meaning"), client_variables()),
    ]
    return document(text)


def client_variables() -> Iterator[tuple[str, ...]]:
    """What `starling-client` reads from the environment."""
    readers: dict[str, list[str]] = {}
    options: dict[str, click.Option] = {}
    for name, command in client.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(option.envvar, str):
                options[option.envvar] = option
                readers.setdefault(option.envvar, []).append(f"`{name}`")
    for variable, option in options.items():
        if option.help is None:
            raise LookupError(f"{variable} has no words in {client.name}.")
        yield f"`{variable}`", whole(option.opts[0]), ", ".join(readers[variable]), option.help


def whole(flag: str) -> str:
    """A flag in one line of its cell, whatever hyphens it has."""
    return f"`{flag}`{{.whole}}"


def options_page() -> str:
    """What a training's `options`, and its methods, may be."""
    return document(
        [
            "# Options of a training",
            (
                "`options` of `POST /api/trainings/` is a JSON object. A value out of bounds is "
                "a 400 that names the option, and so is a name that is nearly one of these; "
                "other names are kept and mean nothing ([decision "
                "6](../decisions/0006-unknown-options-are-kept.md))."
            ),
            table(("option", "value", "default", "meaning"), struct_rows(TrainingOptions)),
            "## `options.uncertainty`",
            table(("option", "value", "default", "meaning"), struct_rows(UncertaintyOptions)),
            "## Methods",
            "`aggregation_method` is one of "
            + ", ".join(f"`{name}`" for name in get_args(AggregationMethod))
            + "; `uncertainty_method` one of "
            + ", ".join(f"`{name.value}`" for name in UncertaintyMethod)
            + ". [Choose a method](../how-to/method.md) says which is for what.",
        ]
    )


def struct_rows(struct: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    """Name, value, default and meaning of each field."""
    described = attributes(struct)
    for field in msgspec.structs.fields(struct):
        yield f"`{field.name}`", kind(field.type), shown_default(field), described[field.name]


def events_page() -> str:
    """Every type of notification and every kind of audit event."""
    return document(
        [
            "# Notifications and audit events",
            "## Notifications",
            "How they come and what must be kept: [notifications](../notifications.md).",
            table(
                ("`notification_type`", "to", "`body`", "what to do"),
                ((f"`{each}`", *NOTIFICATIONS[each]) for each in NotificationType),
            ),
            "## Audit events",
            "What their `details` hold and who sees what: [audit log](../audit.md).",
            table(
                ("`kind`", "what happened"),
                ((f"`{each}`", AUDIT_EVENTS[each]) for each in AuditKind),
            ),
        ]
    )


def decisions() -> str:
    """The decisions, by their titles."""
    titles = []
    for path in sorted((DOCUMENTS / "decisions").glob("0*.md")):
        number, title = path.read_text().split("\n", 1)[0].removeprefix("# ").split(": ", 1)
        titles.append(f"- {number}: [{title}]({path.name})")
    return document(
        [
            "# Decisions",
            "Why things are as they are: context, decision, what was rejected, what follows.",
            "\n".join(titles),
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "reference/rest.md": rest,
    SDK: sdk_page,
    "reference/cli.md": command_line,
    "reference/settings.md": settings_page,
    "reference/options.md": options_page,
    "reference/events.md": events_page,
    "decisions/index.md": decisions,
}


def kind(annotation: Any) -> str:  # noqa: ANN401 - whatever a field is annotated with
    """What values a field takes, in words."""
    return kind_of(msgspec.inspect.type_info(annotation))


def kind_of(found: msgspec.inspect.Type) -> str:
    """What values a type takes, in words."""
    match found:
        case msgspec.inspect.Metadata():
            words = kind_of(found.type)
        case msgspec.inspect.UnionType():
            some = [each for each in found.types if not isinstance(each, msgspec.inspect.NoneType)]
            words = " or ".join(map(kind_of, some))
        case msgspec.inspect.LiteralType():
            words = ", ".join(f"`{value}`" for value in found.values)
        case msgspec.inspect.IntType():
            words = f"integer {', '.join(bounds(found))}".rstrip()
        case msgspec.inspect.FloatType():
            words = f"number {', '.join(bounds(found))}".rstrip()
        case _:
            words = WORDS[type(found)]
    return words


def bounds(found: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> Iterator[str]:
    """The bounds of a number."""
    for sign, bound in (("≥", found.ge), (">", found.gt), ("≤", found.le), ("<", found.lt)):
        if bound is not None:
            yield f"{sign} {bound:,.10g}"


def shown_default(field: msgspec.structs.FieldInfo) -> str:
    """The default of a field; nothing where leaving it out has a meaning of its own."""
    match field.default:
        case None | () | msgspec.UNSET | msgspec.NODEFAULT:
            return ""
        case bool():
            return f"`{str(field.default).lower()}`"
        case msgspec.Struct():
            return ""
        case _:
            return f"`{field.default}`"


def attributes(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the struct's docstring says about its fields."""
    section = inspect.cleandoc(struct.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def first_line(described: type) -> str:
    """First line of a docstring."""
    return inspect.cleandoc(described.__doc__ or "").split("\n", 1)[0]


def without_slash(request: str) -> str:
    """A request without the slash at its end, which means nothing."""
    return request.rstrip("/")
