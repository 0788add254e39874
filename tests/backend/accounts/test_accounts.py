"""Accounts in the hands of superusers, over HTTP, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.accounts import another_superuser, new_superuser
from tests.browsers import SESSION, browser, is_signed_in, sign_in
from tests.conftest import ServerMaker
from tests.federations import People, Person
from tests.servers import PostgreSQL, Server

ACCOUNTS = "/api/accounts/"
INVITATIONS = "/api/invitations/"
MYSELF = "/api/users/myself/"
NOBODY = "00000000-0000-0000-0000-000000000000"
ATTEMPTS = 10


@pytest.fixture
def root(make_user: People) -> Person:
    return another_superuser(make_user)


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user(client=True, email="p@example.com")


def account(root: Person, user_id: str) -> dict[str, object]:
    (found,) = [one for one in root.client.get(ACCOUNTS).json() if one["id"] == user_id]
    return dict(found)


def change(root: Person, user_id: str, **fields: object) -> httpx.Response:
    return root.client.patch(f"{ACCOUNTS}{user_id}/", json=fields)


def test_the_list_has_everybody_as_they_are_and_no_secret(root: Person, person: Person) -> None:
    answer = root.client.get(ACCOUNTS)
    found = account(root, person.id)
    mine = {key: value for key, value in person.created.items() if key != "token"}

    assert answer.status_code == 200
    assert found.items() >= mine.items()
    assert set(found) - set(mine) == {"superuser", "active", "created_at", "last_seen_at"}
    assert (found["superuser"], found["active"]) == (False, True)
    assert account(root, root.id)["superuser"] is True
    created = datetime.fromisoformat(str(found["created_at"]))
    assert datetime.now(UTC) - created < timedelta(minutes=5)
    assert person.token not in answer.text
    assert "password" not in answer.text


def test_nobody_else_gets_near(person: Person, root: Person, anonymous: httpx.Client) -> None:
    requests: list[tuple[str, str, dict[str, object] | None]] = [
        ("GET", ACCOUNTS, None),
        ("PATCH", f"{ACCOUNTS}{person.id}/", {"superuser": True}),
        ("PATCH", f"{ACCOUNTS}{root.id}/", {"password": "stolen"}),
        ("POST", f"{ACCOUNTS}{root.id}/token/", None),
        ("POST", INVITATIONS, {}),
    ]
    for method, path, body in requests:
        assert person.client.request(method, path, json=body).status_code == 403
        assert anonymous.request(method, path, json=body).status_code == 401
    assert root.client.get(MYSELF).status_code == 200
    assert not account(root, person.id)["superuser"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (ACCOUNTS, "GET"),
        (f"{ACCOUNTS}{NOBODY}/", "PATCH"),
        (f"{ACCOUNTS}{NOBODY}/token/", "POST"),
        (INVITATIONS, "POST"),
    ],
)
def test_what_may_be_asked_is_told_to_anybody(
    anonymous: httpx.Client, path: str, methods: str
) -> None:
    answer = anonymous.options(path)

    assert answer.status_code == 204
    assert methods in answer.headers["Allow"]


def test_a_disabled_user_is_refused_at_once_and_comes_back_without_sessions(
    server: Server, root: Person, person: Person
) -> None:
    with browser(server, person) as client:
        answer = change(root, person.id, active=False)
        refused = [
            client.get(MYSELF),
            client.get(MYSELF, headers=person.basic()),
            person.client.get(MYSELF),
        ]
        listed = account(root, person.id)
        enabled = change(root, person.id, active=True)

        assert answer.status_code == 200
        assert answer.json() == listed
        assert listed["active"] is False
        assert [one.status_code for one in refused] == [401, 401, 401]
        assert enabled.json()["active"] is True
        assert person.client.get(MYSELF).status_code == 200
        assert not is_signed_in(client)


def test_a_superuser_is_made_and_unmade_while_signed_in(
    server: Server, root: Person, person: Person
) -> None:
    with browser(server, person) as client:
        assert client.get(ACCOUNTS).status_code == 403

        promoted = change(root, person.id, superuser=True)
        assert promoted.json()["superuser"] is True
        assert client.get(ACCOUNTS).status_code == 200
        assert client.get(SESSION).json()["superuser"]

        assert change(root, person.id, superuser=False).json()["superuser"] is False
        assert client.get(ACCOUNTS).status_code == 403
        assert not client.get(SESSION).json()["superuser"]


def test_a_password_from_a_superuser_ends_the_users_sessions(
    server: Server, root: Person, person: Person
) -> None:
    with browser(server, person) as client:
        answer = change(root, person.id, password="another")

        assert answer.status_code == 200
        assert "another" not in answer.text
        assert not is_signed_in(client)
        assert client.get(MYSELF, headers=person.basic()).status_code == 401
        sign_in(client, person.username, "another")
        assert is_signed_in(client)


def test_nothing_changes_by_an_empty_order(root: Person, person: Person) -> None:
    before = account(root, person.id)

    assert change(root, person.id).json() == before


@pytest.mark.parametrize(
    ("field", "value"), [("active", False), ("superuser", False), ("password", "another")]
)
def test_nobody_locks_themselves_out(root: Person, field: str, value: object) -> None:
    answer = change(root, root.id, **{field: value})

    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert root.client.get(ACCOUNTS).status_code == 200
    assert root.client.get(ACCOUNTS, headers=root.basic()).status_code == 200


def test_to_stay_what_one_is_is_no_harm(root: Person) -> None:
    assert change(root, root.id, active=True, superuser=True).status_code == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"active": "true"}, "active"),
        ({"active": 1}, "active"),
        ({"superuser": None}, "superuser"),
        ({"password": ""}, "password"),
        ({"username": "other"}, "username"),
        ({"token": "0" * 40}, "token"),
    ],
)
def test_a_malformed_change_is_refused_by_name(
    root: Person, person: Person, fields: dict[str, object], field: str
) -> None:
    before = account(root, person.id)

    answer = change(root, person.id, **fields)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert account(root, person.id) == before


@pytest.mark.parametrize("user_id", [NOBODY, "nonsense"])
def test_an_unknown_account_is_a_400(root: Person, user_id: str) -> None:
    answers = [
        change(root, user_id, active=False),
        change(root, user_id),
        root.client.post(f"{ACCOUNTS}{user_id}/token/"),
    ]

    for answer in answers:
        assert answer.status_code == 400
        assert answer.json()["detail"] == f"User {user_id} not found."


def test_a_new_token_for_somebody_ends_the_old_one(
    server: Server, root: Person, person: Person
) -> None:
    answer = root.client.post(f"{ACCOUNTS}{person.id}/token/")

    assert answer.status_code == 200
    assert person.client.get(MYSELF).status_code == 401
    with server.client() as client:
        authorization = {"Authorization": f"Token {answer.json()['token']}"}
        assert client.get(MYSELF, headers=authorization).json()["id"] == person.id


def test_who_was_there_is_seen(new_server: ServerMaker) -> None:
    server = new_server().start().wait_until_answers("/health/live", 200)
    people = People(server)
    root, person, idler = new_superuser(people), people(), people()
    with browser(server, person) as client:
        client.get(MYSELF)
    server.stop()  # or it would be written within a minute
    server.start().wait_until_answers("/health/live", 200)
    seen = account(root, person.id)["last_seen_at"]
    never = account(root, idler.id)["last_seen_at"]
    people.close()

    assert datetime.now(UTC) - datetime.fromisoformat(str(seen)) < timedelta(minutes=5)
    assert never is None


@pytest.fixture(params=["sqlite", "postgresql"])
def lonely(request: pytest.FixtureRequest, new_server: ServerMaker) -> Server:
    """A server without any superuser but those a test makes."""
    url = None
    if request.param == "postgresql":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        url = postgresql.new_database()
    return new_server(database_url=url).start().wait_until_answers("/health/live", 200)


async def test_two_who_depose_each_other_leave_one(lonely: Server) -> None:
    people = People(lonely)
    first, second = new_superuser(people), new_superuser(people)
    refusals = []
    async with httpx.AsyncClient(base_url=lonely.url, timeout=60) as client:
        for attempt in range(ATTEMPTS):
            deposed = {"superuser": False} if attempt % 2 else {"active": False}
            answers = await asyncio.gather(
                *(
                    client.patch(
                        f"{ACCOUNTS}{other.id}/",
                        json=deposed,
                        headers={"Authorization": f"Token {one.token}"},
                    )
                    for one, other in ((first, second), (second, first))
                )
            )
            statuses = sorted(answer.status_code for answer in answers)
            # Who comes too late is no superuser, or signed in, any more.
            assert statuses[0] == 200, statuses
            assert statuses[1] in {401, 403, 409}, statuses
            refusals += [one.json()["detail"] for one in answers if one.status_code == 409]
            left = first if first.client.get(ACCOUNTS).status_code == 200 else second
            other = second if left is first else first
            assert change(left, other.id, superuser=True, active=True).status_code == 200
    people.close()

    assert all("last superuser" in detail for detail in refusals)


def test_an_invitation_lets_one_person_register(new_server: ServerMaker) -> None:
    server = new_server(
        {"STARLING_REGISTRATION": "invitation", "STARLING_PUBLIC_URL": "https://fl.example"}
    )
    server.start().wait_until_answers("/health/live", 200)
    people = People(server)
    root = new_superuser(people)
    answer = root.client.post(INVITATIONS, json={"valid_days": 3})
    made = answer.json()
    link = urlsplit(made["url"])
    wanted = {"username": "guest", "password": "pw", "invitation": made["invitation"]}
    with server.client() as client:
        registered = client.post("/api/users/", json=wanted)
        again = client.post("/api/users/", json={**wanted, "username": "second"})
    people.close()

    assert answer.status_code == 201
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=3) - timedelta(minutes=5) < left <= timedelta(days=3)
    assert (link.scheme, link.netloc, link.path) == ("https", "fl.example", "/")
    page, _, query = link.fragment.partition("?")
    assert page == "/register"
    assert parse_qs(query) == {"invitation": [made["invitation"]]}
    assert registered.status_code == 201, registered.text
    assert not registered.json().get("superuser", False)
    assert again.status_code == 403


def test_an_invitation_is_good_for_a_week_unless_said_otherwise(root: Person) -> None:
    made = root.client.post(INVITATIONS, json={}).json()

    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=7) - timedelta(minutes=5) < left <= timedelta(days=7)


@pytest.mark.parametrize("days", [0, -1, 366, "7", 1.5, None])
def test_an_invitation_holds_for_a_day_to_a_year(root: Person, days: object) -> None:
    answer = root.client.post(INVITATIONS, json={"valid_days": days})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["valid_days"]
