"""One server that the how-tos are tried on, set up as the page about deploying says."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import Page, run
from tests.federations import Person
from tests.servers import RayCluster, Server, free_port

ADMIN_PASSWORD = "a-long-one"


class Deployed:
    """A server with the settings of how-to/deploy.md, and the superuser made there."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        commands = "".join(Page("how-to/deploy.md").blocks("bash"))
        run(commands, folder, self.operator({"PASSWORD": ADMIN_PASSWORD}))
        token = (folder / "admin.token").read_text().strip()
        self.admin = server.client(headers={"Authorization": f"Token {token}"})
        self._people: list[Person] = []

    def operator(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of who operates the server."""
        settings = {"STARLING_DATA_DIR": str(self.server.data_dir), "URL": self.server.url}
        return settings | {"STARLING_PASSWORD_HASHING": "owasp"} | (more or {})

    def person(self, name: str) -> Person:
        """A new user, registered by the superuser as registration is by invitation."""
        username, password = f"{name}-{secrets.token_hex(4)}", secrets.token_hex(8)
        account = {"username": username, "password": password}
        answer = self.admin.post("/api/users/", json=account)
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        client = self.server.client(headers={"Authorization": f"Token {token}"})
        created = answer.json()
        made = Person(created["id"], username, password, token, created, client)
        self._people.append(made)
        return made

    def close(self) -> None:
        """Close the connections of everyone."""
        self.admin.close()
        for person in self._people:
            person.client.close()


def deployed_settings() -> dict[str, str]:
    """The settings of how-to/deploy.md."""
    file = Page("how-to/deploy.md").file("/etc/starling.env")
    return dict(line.split("=", 1) for line in file.splitlines())


@pytest.fixture(scope="session")
def deployed(
    ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    port = free_port()
    # Nobody is at the page's address; everything else is as it says.
    settings = deployed_settings() | {"STARLING_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    server = Server(folder / "data", environment=ray_cluster.environment() | settings, port=port)
    server.start_and_wait()
    made = Deployed(server, folder)
    yield made
    made.close()
    server.stop()
