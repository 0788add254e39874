"""What goes over the wire about sessions."""

import msgspec

from backend.settings import Registration
from backend.text import RequiredText, ShortName, Text
from backend.users.schemas import UserJson


class SignIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A user's name and password."""

    username: ShortName
    password: RequiredText


class SetUp(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The first superuser, and the code that the server printed when it started."""

    code: RequiredText
    username: ShortName
    password: RequiredText
    first_name: Text = ""
    last_name: Text = ""
    email: Text = ""


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A user's own new password."""

    current_password: RequiredText
    new_password: RequiredText


class SessionJson(msgspec.Struct, kw_only=True):
    """Who is signed in here, and what a page needs to know before anybody is.

    Attributes:
        user: None: nobody is signed in.
        csrf_token: To be sent as `X-CSRF-Token` with each change; None: nobody is signed in.
        setup_needed: There is no superuser yet.
    """

    user: UserJson | None
    superuser: bool
    csrf_token: str | None
    setup_needed: bool
    registration: Registration
    version: str
