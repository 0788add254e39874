"""The database goes away, or the disk fills up, while a server runs: it says so, and goes on."""

import contextlib
from collections.abc import Iterable, Iterator

import psutil
import pytest
from torch import nn

from tests.conftest import ServerMaker
from tests.federations import People, new_federation, upload_model
from tests.model_files import (
    assert_within_one_ulp,
    drifted,
    federated_average,
    tiny,
    torchscript,
    weights,
)
from tests.servers import PostgreSQL, RayCluster, Server, short_temporary_folder
from tests.waiting import wait_until
from tests.webhooks import WebhookReceiver

LARGE = nn.Sequential(nn.Linear(700, 700), nn.BatchNorm1d(700))  # 2 MB
LARGER_THAN_LOGS = 1024**2


@contextlib.contextmanager
def files_no_larger_than(processes: Iterable[psutil.Process], size_bytes: int) -> Iterator[None]:
    """To these processes, the disk is full as soon as a file has this size."""
    before = [(process, process.rlimit(psutil.RLIMIT_FSIZE)) for process in processes]
    assert before
    for process, (_, hard) in before:
        process.rlimit(psutil.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        for process, limits in before:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, limits)


@pytest.fixture
def own_server(new_server: ServerMaker) -> Iterator[Server]:
    # An aggregator whose disk is full from the beginning has to be there before its training.
    server = new_server({"STARLING_KEEP_WORKERS_READY": "true"}).start_and_wait()
    yield server
    server.stop()


@pytest.fixture
def people(own_server: Server) -> Iterator[People]:
    people = People(own_server)
    yield people
    people.close()


def test_a_server_outlives_its_database(new_server: ServerMaker, webhooks: WebhookReceiver) -> None:
    with short_temporary_folder("pg") as folder:
        database = PostgreSQL(folder)
        server = new_server(database_url=database.new_database()).start_and_wait()
        people = People(server)
        federation = new_federation(people, webhooks, participants=2, rounds=1)
        first, second = federation.participants
        updates = [torchscript(drifted(tiny(), seed=k)) for k in range(2)]
        assert federation.upload(first, updates[0]).status_code == 201
        before = server.holdings()

        for _ in range(2):
            database.halt()
            answers = [
                federation.upload(second, updates[1]),
                federation.actor.client.get(f"/api/trainings/{federation.training_id}/"),
                *(first.client.get("/api/models/") for _ in range(25)),
            ]
            assert {answer.status_code for answer in answers} == {503}
            assert all("Retry-After" in answer.headers for answer in answers)
            assert all("database" in answer.json()["detail"] for answer in answers)
            database.start()
            server.wait_until_answers("/health/ready", 200)

        assert server.holdings().new_since(before) == {}
        assert federation.upload(second, updates[1]).status_code == 201
        federation.wait_for_tests(1)
        assert_within_one_ulp(
            federation.weights(), federated_average([(10, weights(each)) for each in updates])
        )
        for participant in federation.participants:
            federation.report(participant)
        for participant in federation.participants:
            federation.told(participant, "TRAINING_FINISHED")
        people.close()
        server.stop()
        database.stop()


def test_an_upload_to_a_full_disk_leaves_nothing_and_can_be_repeated(
    own_server: Server, people: People
) -> None:
    person = people(actor=True)
    content = torchscript(LARGE)
    before = own_server.holdings()

    with files_no_larger_than([psutil.Process(own_server.process.pid)], LARGER_THAN_LOGS):
        full = upload_model(person, content, input_shape=("None", "700"))
        begun = person.client.post("/api/uploads/", headers={"Upload-Length": str(len(content))})
        path = begun.headers["Location"]
        appending = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        cut = person.client.patch(path, content=content, headers=appending)
    assert (full.status_code, cut.status_code) == (507, 507), full.text + cut.text
    assert "space" in full.json()["detail"]
    arrived = int(person.client.head(path).headers["Upload-Offset"])
    rest = person.client.patch(
        path, content=content[arrived:], headers={**appending, "Upload-Offset": str(arrived)}
    )
    assert rest.status_code == 204
    person.client.delete(path)
    assert own_server.holdings().new_since(before) == {}

    assert upload_model(person, content, input_shape=("None", "700")).status_code == 201


def test_a_disk_that_is_full_for_the_database_commits_nothing(
    own_server: Server, people: People
) -> None:
    person = people()
    before = own_server.holdings()

    with files_no_larger_than([psutil.Process(own_server.process.pid)], 4096):
        user = person.client.post("/api/users/", json={"username": "u", "password": "p"})
        model = upload_model(person)
    assert {user.status_code, model.status_code} <= {503, 507}, user.text + model.text
    assert own_server.holdings().new_since(before) == {}

    people("after")
    assert upload_model(person).status_code == 201


def test_a_round_waits_for_space_where_its_aggregator_writes(
    own_server: Server, people: People, ray_cluster: RayCluster, webhooks: WebhookReceiver
) -> None:
    federation = new_federation(
        people, webhooks, participants=2, rounds=1, model=torchscript(LARGE)
    )
    updates = [torchscript(drifted(LARGE, seed=k)) for k in range(2)]

    with files_no_larger_than(ray_cluster.aggregators(), LARGER_THAN_LOGS):
        for participant, content in zip(federation.participants, updates, strict=True):
            assert federation.upload(participant, content).status_code == 201
        wait_until(
            lambda: "is to be aggregated again" in own_server.log_text(),
            what="an aggregation that found no space",
        )
        assert federation.training()["state"] == "O"
        assert "died" not in own_server.log_text()

    federation.wait_for_tests(1)
    assert_within_one_ulp(
        federation.weights(), federated_average([(10, weights(each)) for each in updates])
    )
