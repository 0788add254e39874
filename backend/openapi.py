"""The API document: OpenAPI 3.1 from the schemas, with Swagger UI and ReDoc served by ourselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import yaml
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import (
    JsonRenderPlugin,
    RedocRenderPlugin,
    SwaggerRenderPlugin,
)
from litestar.openapi.spec import (
    Components,
    OpenAPI,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.serialization import encode_json

from backend.forms import MULTIPART, UPLOAD_SUFFIX, URLENCODED
from backend.security.content_negotiation import EVENT_STREAM, JSON_LINES
from backend.security.cross_site import CSRF_HEADER

VENDOR_URL = "/static/vendor"
YAML_MEDIA_TYPE = "application/vnd.oai.openapi"
BINARY = "application/octet-stream"
JSON_MEDIA_TYPE = "application/vnd.oai.openapi+json"

_FAVICON = f'<link rel="icon" type="image/png" href="{VENDOR_URL}/swagger-ui/favicon-32x32.png">'
_SWAGGER_UI = SwaggerRenderPlugin(
    js_url=f"{VENDOR_URL}/swagger-ui/swagger-ui-bundle.js",
    css_url=f"{VENDOR_URL}/swagger-ui/swagger-ui.css",
    standalone_preset_js_url=f"{VENDOR_URL}/swagger-ui/swagger-ui-standalone-preset.js",
    favicon=_FAVICON,
)
_REDOC = RedocRenderPlugin(
    js_url=f"{VENDOR_URL}/redoc/redoc.standalone.js", google_fonts=False, favicon=_FAVICON
)


_WITHOUT_BODY = ("204", "304")
# Operations that need no credentials.
_PUBLIC = {
    ("/api/users/", "post"),
    ("/api/session/", "get"),
    ("/api/session/", "post"),
    ("/api/session/", "delete"),
    ("/api/setup/", "post"),
    ("/api/dummy/", "get"),
    ("/health/live", "get"),
    ("/health/ready", "get"),
}
_ERROR_SCHEMA = Schema(
    type=OpenAPIType.OBJECT,
    required=["detail"],
    properties={
        "detail": Schema(type=OpenAPIType.STRING, description="What was wrong and what to do."),
        "errors": Schema(
            type=OpenAPIType.OBJECT,
            description="Field name to messages.",
            additional_properties=Schema(
                type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING)
            ),
        ),
    },
)


_FILE = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)


class FormField(msgspec.Struct, frozen=True):
    """One field of a form, for the document; what is accepted is decided where it is read."""

    name: str
    kind: Literal["text", "integer", "file", "resumable file", "any"] = "text"
    required: bool = False
    repeated: bool = False

    def schema(self) -> Schema:
        """JSON schema of the field."""
        single = {
            "file": _FILE,
            "resumable file": _FILE,
            "integer": Schema(type=OpenAPIType.INTEGER),
            "text": Schema(type=OpenAPIType.STRING),
            "any": Schema(),
        }[self.kind]
        return Schema(type=OpenAPIType.ARRAY, items=single) if self.repeated else single


def form_operation(*fields: FormField, json_fields: Sequence[FormField] = ()) -> type[Operation]:
    """An operation class whose request body is this form, for handlers that read it as a stream.

    Args:
        json_fields: Fields of the JSON object that is taken instead; none: no JSON is taken.
    """
    has_file = any(field.kind in {"file", "resumable file"} for field in fields)
    content = dict.fromkeys(
        (MULTIPART,) if has_file else (MULTIPART, URLENCODED),
        OpenAPIMediaType(schema=_object_schema(fields)),
    )
    if json_fields:
        content["application/json"] = OpenAPIMediaType(schema=_object_schema(json_fields))
    body = RequestBody(content=content, required=True)

    @dataclass
    class FormOperation(Operation):
        """An operation that takes a form."""

        def __post_init__(self) -> None:
            self.request_body = body

    return FormOperation


def body_operation(*media_types: str) -> type[Operation]:
    """An operation class whose request body is a file in one of these formats."""
    body = RequestBody(
        content={each: OpenAPIMediaType(schema=_FILE) for each in media_types}, required=True
    )

    @dataclass
    class BodyOperation(Operation):
        """An operation that takes a file as it is."""

        def __post_init__(self) -> None:
            self.request_body = body

    return BodyOperation


def also_answering(*media_types: str) -> type[Operation]:
    """An operation class that also answers in each of these formats, for who asks for it."""

    @dataclass
    class OperationWithAnother(Operation):
        """An operation that answers in one of several formats."""

        def __post_init__(self) -> None:
            answer = (self.responses or {}).get("200")
            if isinstance(answer, OpenAPIResponse):
                text = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
                answer.content = {**(answer.content or {}), **dict.fromkeys(media_types, text)}

    return OperationWithAnother


JsonLinesAndEventsToo = also_answering(JSON_LINES, EVENT_STREAM)
EventStreamToo = also_answering(EVENT_STREAM)


def _object_schema(fields: Sequence[FormField]) -> Schema:
    """The schema of a form; a resumable file may be the id of a finished upload instead."""
    resumable = [field for field in fields if field.kind == "resumable file"]
    properties: dict[str, Reference | Schema] = {f.name: f.schema() for f in fields}
    for field in resumable:
        properties[field.name + UPLOAD_SUFFIX] = Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.UUID,
            description=f"Id of a finished upload of `POST /api/uploads/`, not {field.name}.",
        )
    either = [
        Schema(
            any_of=[Schema(required=[name]) for name in (field.name, field.name + UPLOAD_SUFFIX)]
        )
        for field in resumable
        if field.required
    ]
    return Schema(
        type=OpenAPIType.OBJECT,
        properties=properties,
        required=[f.name for f in fields if f.required and f not in resumable] or None,
        all_of=either or None,
    )


def complete_document(document: OpenAPI) -> None:
    """Make the document say what the server does, where Litestar cannot know.

    Paths end in a slash, as the contract has them. Every error is a JSON object with `detail`.
    Operations without credentials say so.
    """
    document.paths = {
        f"{path}/" if path.startswith("/api/") else path: item
        for path, item in (document.paths or {}).items()
    }
    schemas = document.components.schemas = dict(document.components.schemas or {})
    schemas["Error"] = _ERROR_SCHEMA
    for path, item in document.paths.items():
        for method in ("get", "post", "put", "patch", "delete"):
            operation: Operation | None = getattr(item, method)
            if operation is not None:
                _complete_operation(operation, public=(path, method) in _PUBLIC)


def _complete_operation(operation: Operation, *, public: bool) -> None:
    answers = {
        status: answer
        for status, answer in (operation.responses or {}).items()
        if status.startswith(("2", "3"))
    }
    for status, answer in answers.items():
        if isinstance(answer, OpenAPIResponse) and status in _WITHOUT_BODY:
            answer.content = None
        if isinstance(answer, OpenAPIResponse) and answer.content and BINARY in answer.content:
            binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
            answer.content = {BINARY: OpenAPIMediaType(schema=binary)}
    operation.responses = {**answers, "4XX": _error("Refused"), "5XX": _error("Not available")}
    if public:
        operation.security = []


def _error(description: str) -> OpenAPIResponse:
    reference = Reference(ref="#/components/schemas/Error")
    return OpenAPIResponse(
        description=description,
        content={"application/json": OpenAPIMediaType(schema=reference)},
    )


@get("/api/schema/", include_in_schema=False, public=True, sync_to_thread=False)
def document(request: Request[object, object, State]) -> Response[bytes]:
    """The OpenAPI document as YAML, or as JSON when the query or the Accept header asks for it."""
    schema = request.app.openapi_schema.to_schema()
    if wants_json(request):
        return Response(encode_json(schema), media_type=JSON_MEDIA_TYPE)
    return Response(yaml.dump(schema, sort_keys=False).encode(), media_type=YAML_MEDIA_TYPE)


def wants_json(request: Request[object, object, State]) -> bool:
    """Whether the caller asks for the document as JSON."""
    wanted = request.query_params.get("format")
    if wanted is not None:
        return bool(wanted == "json")
    return "application/json" in request.headers.get("accept", "")


@get("/api/schema/swagger-ui/", include_in_schema=False, public=True, media_type=MediaType.HTML)
async def swagger_ui(request: Request[object, object, State]) -> bytes:
    """Swagger UI."""
    return _SWAGGER_UI.render(request, request.app.openapi_schema.to_schema())


@get("/api/schema/redoc/", include_in_schema=False, public=True, media_type=MediaType.HTML)
async def redoc(request: Request[object, object, State]) -> bytes:
    """ReDoc."""
    return _REDOC.render(request, request.app.openapi_schema.to_schema())


def openapi_config(version: str, *, session_cookie: str) -> OpenAPIConfig:
    """What the document says about the API as a whole.

    Litestar would also serve pages at the root of its path, where the contract has the document; so
    it only serves the JSON that the two pages load.

    Args:
        session_cookie: Name of the cookie.
    """
    return OpenAPIConfig(
        title="Starling",
        version=version,
        description="Federated learning: train one model together, keep the data at home.",
        path="/api/schema/document",
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        security=[{"token": []}, {"basic": []}, {"session": []}],
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="apiKey",
                    name="Authorization",
                    security_scheme_in="header",
                    description="`Token <40 hex digits>`",
                ),
                "basic": SecurityScheme(type="http", scheme="basic"),
                "session": SecurityScheme(
                    type="apiKey",
                    name=session_cookie,
                    security_scheme_in="cookie",
                    description=(
                        "Set by `POST /api/session/`, for the web console. What is not a GET needs "
                        f"the answer's `csrf_token` too, as header `{CSRF_HEADER}`."
                    ),
                ),
            }
        ),
    )
