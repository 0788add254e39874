"""Sessions over HTTP."""

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_204_NO_CONTENT

from backend.error_answers import AnyRequest
from backend.security.authentication import address_of
from backend.security.cross_site import require_own_page, requires_own_json
from backend.security.session_cookie import SessionCookie
from backend.sessions.schemas import SessionJson, SetUp, SignIn
from backend.sessions.service import Begun, SessionService

NOT_STORED = {"Cache-Control": "no-store"}


class SessionController(Controller):
    """Signing in from a browser, with a cookie."""

    path = "/api/session"
    tags = ("session",)

    @get("/", public=True)
    async def current(
        self,
        request: AnyRequest,
        session_service: NamedDependency[SessionService],
        session_cookie: NamedDependency[SessionCookie],
    ) -> Response[SessionJson]:
        """Who is signed in with the cookie, if anybody is."""
        session = await session_service.current(session_cookie.secret_in(request))
        return Response(session, headers=NOT_STORED)

    @post("/", public=True, status_code=HTTP_200_OK, guards=[requires_own_json])
    async def sign_in(
        self,
        request: AnyRequest,
        data: JSONBody[SignIn],
        session_service: NamedDependency[SessionService],
        session_cookie: NamedDependency[SessionCookie],
    ) -> Response[SessionJson]:
        """Sign in; the answer sets the cookie."""
        begun = await session_service.sign_in(
            data, address_of(request), replacing=session_cookie.secret_in(request)
        )
        return _begun(begun, session_cookie, request, status_code=HTTP_200_OK)

    @delete("/", public=True)
    async def sign_out(
        self,
        request: AnyRequest,
        session_service: NamedDependency[SessionService],
        session_cookie: NamedDependency[SessionCookie],
    ) -> Response[None]:
        """Sign out; a session that is over already is none."""
        if (secret := session_cookie.secret_in(request)) is not None:
            require_own_page(request, secret)
            await session_service.sign_out(secret)
        return Response(
            None,
            status_code=HTTP_204_NO_CONTENT,
            headers=NOT_STORED,
            cookies=[session_cookie.holding(None, request)],
        )


@post("/api/setup/", public=True, tags=("session",), guards=[requires_own_json])
async def set_up(
    request: AnyRequest,
    data: JSONBody[SetUp],
    session_service: NamedDependency[SessionService],
    session_cookie: NamedDependency[SessionCookie],
) -> Response[SessionJson]:
    """Create the first superuser, and sign them in; the server prints the code when it starts."""
    begun = await session_service.set_up(
        data, address_of(request), replacing=session_cookie.secret_in(request)
    )
    return _begun(begun, session_cookie, request, status_code=HTTP_201_CREATED)


def _begun(
    begun: Begun,
    cookie: SessionCookie,
    request: AnyRequest,
    *,
    status_code: int,
) -> Response[SessionJson]:
    return Response(
        begun.session,
        status_code=status_code,
        headers=NOT_STORED,
        cookies=[cookie.holding(begun.secret, request)],
    )
