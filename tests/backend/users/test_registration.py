"""Who may register: anybody, who is invited, or nobody."""

import secrets

import httpx
import pytest

from tests.accounts import new_superuser, printed
from tests.conftest import ServerMaker
from tests.federations import People
from tests.servers import Server


def registration(**fields: str) -> dict[str, str]:
    return {"username": f"new-{secrets.token_hex(4)}", "password": "pw", **fields}


def register(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post("/api/users/", json=registration(**fields))


def started(new_server: ServerMaker, registration: str) -> Server:
    server = new_server({"STARLING_REGISTRATION": registration}).start()
    return server.wait_until_answers("/health/live", 200)


def test_by_invitation_one_person_registers_with_each(new_server: ServerMaker) -> None:
    server = started(new_server, "invitation")
    invitation = printed(server, "invite")
    people = People(server)

    with server.client() as client:
        without = register(client)
        forged = register(
            client, invitation=invitation[:-1] + ("0" if invitation[-1] != "0" else "1")
        )
        nonsense = register(client, invitation="a.b")
        first = register(client, invitation=invitation)
        second = register(client, invitation=invitation)
        by_superuser = register(new_superuser(people).client)

    assert [one.status_code for one in (without, forged, nonsense)] == [403, 403, 403]
    assert "invitation" in without.json()["detail"]
    assert first.status_code == 201, first.text
    assert second.status_code == 403
    assert "used" in second.json()["detail"]
    assert by_superuser.status_code == 201
    people.close()


def test_a_refused_registration_leaves_the_invitation_good(new_server: ServerMaker) -> None:
    server = started(new_server, "invitation")
    invitation = printed(server, "invite", "--expires-hours", "1")
    printed(server, "create", "taken", "--password-stdin", stdin="pw\n")

    with server.client() as client:
        refused = register(client, username="taken", invitation=invitation)
        accepted = register(client, invitation=invitation)

    assert (refused.status_code, accepted.status_code) == (400, 201)


def test_where_it_is_closed_superusers_register_others(new_server: ServerMaker) -> None:
    server = started(new_server, "closed")
    printed(server, "create", "ordinary", "--password-stdin", stdin="pw\n")
    people = People(server)

    with server.client() as client:
        anonymous = register(client)
        invited = register(client, invitation=printed(server, "invite"))
        ordinary = client.post("/api/users/", json=registration(), auth=("ordinary", "pw"))
        wrong = client.post("/api/users/", json=registration(), auth=("ordinary", "wrong"))
        superuser = register(new_superuser(people).client)

    assert [one.status_code for one in (anonymous, invited, ordinary)] == [403, 403, 403]
    assert "closed" in anonymous.json()["detail"]
    assert wrong.status_code == 401
    assert superuser.status_code == 201
    people.close()


@pytest.mark.parametrize("body", [{}, {"invitation": "1.2.3"}])
def test_where_it_is_open_invitations_do_not_matter(
    anonymous: httpx.Client, body: dict[str, str]
) -> None:
    assert register(anonymous, **body).status_code == 201
