import httpx
import pytest

from tests.conftest import ServerMaker
from tests.federations import People, upload_model
from tests.servers import PostgreSQL, free_port, short_temporary_folder


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/live/"])
def test_health_needs_no_credentials(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")


def test_without_a_cluster_it_lives_but_is_not_ready(new_server: ServerMaker) -> None:
    server = new_server({"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}, shared_cluster=True).start()
    server.wait_until_answers("/health/live", 200)
    people = People(server)
    with server.client() as client:
        ready = client.get("/health/ready")

    upload = upload_model(people(actor=True))

    assert ready.status_code == 503
    assert "ray" in ready.text.lower() or "compute" in ready.text.lower()
    # Nothing is wrong with the model: the same request may be sent again.
    assert upload.status_code == 503
    assert isinstance(upload.json()["detail"], str)
    people.close()
    server.stop()


def test_without_its_database_it_lives_but_is_not_ready(new_server: ServerMaker) -> None:
    with short_temporary_folder("pg") as folder:
        database = PostgreSQL(folder)
        server = new_server(database_url=database.new_database()).start_and_wait()

        database.stop()

        server.wait_until_answers("/health/ready", 503)
        with server.client() as client:
            assert client.get("/health/live").status_code == 200
            assert "database" in client.get("/health/ready").text.lower()
        server.stop()
