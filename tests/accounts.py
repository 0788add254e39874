"""`starling user` as an operator runs it, and superusers made with it."""

import secrets
import subprocess
from weakref import WeakKeyDictionary

from tests.federations import People, Person
from tests.servers import REPOSITORY, Server, command

# Of each server that tests share, the token of the superuser who makes the others.
_founders: WeakKeyDictionary[Server, str] = WeakKeyDictionary()


def starling_user(
    server: Server, *arguments: str, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """`starling user …` on the database of `server`, which may be running or not."""
    return subprocess.run(
        command("user", "--data-dir", str(server.data_dir), *arguments),
        env=server._environment,
        cwd=REPOSITORY,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(server: Server, *arguments: str, stdin: str = "") -> str:
    """What a `starling user …` that succeeds prints."""
    ended = starling_user(server, *arguments, stdin=stdin)
    assert ended.returncode == 0, ended
    return ended.stdout.strip()


def new_superuser(people: People) -> Person:
    """A superuser, made on the command line, as the first one of a server can be."""
    username, password = f"root-{secrets.token_hex(4)}", f"pw-{secrets.token_hex(4)}"
    token = printed(
        people.server,
        *("create", username, "--superuser", "--password-stdin"),
        stdin=f"{password}\n",
    )
    http = people.server.client()
    http.headers["Authorization"] = f"Token {token}"
    created = http.get("/api/users/myself/").json()
    person = Person(created["id"], username, password, token, created, http)
    people.made.append(person)
    return person


def another_superuser(people: People) -> Person:
    """A superuser of a server that tests share, promoted by one who stays there."""
    if people.server not in _founders:
        _founders[people.server] = new_superuser(people).token
    person = people()
    with people.server.client() as client:
        promoted = client.patch(
            f"/api/accounts/{person.id}/",
            json={"superuser": True},
            headers={"Authorization": f"Token {_founders[people.server]}"},
        )
    assert promoted.status_code == 200, promoted.text
    return person
