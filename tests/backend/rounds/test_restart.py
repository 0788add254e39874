"""Trainings that outlive the server process, on the same data directory and database."""

from collections.abc import Iterator

import pytest
from torch import nn

from tests.conftest import ServerMaker
from tests.federations import Federation, People, new_federation
from tests.model_files import (
    assert_within_one_ulp,
    drifted,
    federated_average,
    tiny,
    torchscript,
    weights,
)
from tests.servers import Server
from tests.webhooks import WebhookReceiver


@pytest.fixture(params=["sqlite", "postgresql"])
def own_server(request: pytest.FixtureRequest, new_server: ServerMaker) -> Server:
    """A server that the test may stop and kill."""
    database_url = None
    if request.param == "postgresql":
        database_url = request.getfixturevalue("postgresql").new_database()
    return new_server(database_url=database_url).start_and_wait()


@pytest.fixture
def people(own_server: Server) -> Iterator[People]:
    people = People(own_server)
    yield people
    people.close()


def assert_finishes(federation: Federation) -> None:
    for person in [*federation.participants, federation.actor]:
        federation.told(person, "TRAINING_FINISHED")
    assert federation.training()["state"] == "C"


def test_a_training_goes_on_after_a_restart(
    own_server: Server, people: People, webhooks: WebhookReceiver
) -> None:
    federation = new_federation(people, webhooks, participants=2, rounds=1)
    first, second = federation.participants
    updates = [torchscript(drifted(tiny(), seed=k)) for k in range(2)]
    assert federation.upload(first, updates[0], sample_size=3).status_code == 201

    own_server.stop()
    own_server.start_and_wait()
    assert federation.training()["local_models_arrived"] == 1
    assert federation.upload(second, updates[1], sample_size=5).status_code == 201
    federation.wait_for_tests(1)
    assert_within_one_ulp(
        federation.weights(),
        federated_average([(3, weights(updates[0])), (5, weights(updates[1]))]),
    )
    federation.report(first)
    own_server.stop()
    own_server.start_and_wait()
    federation.report(second)

    assert_finishes(federation)
    own_server.stop()


def test_a_training_goes_on_after_a_crash_while_it_aggregates(
    own_server: Server, people: People, webhooks: WebhookReceiver
) -> None:
    # Large enough that the aggregation is not over when the last upload is answered.
    model = nn.Sequential(nn.Linear(1500, 1500), nn.BatchNorm1d(1500))
    federation = new_federation(
        people, webhooks, participants=2, rounds=1, model=torchscript(model)
    )
    updates = [torchscript(drifted(model, seed=k)) for k in range(2)]
    for participant, content in zip(federation.participants, updates, strict=True):
        assert federation.upload(participant, content).status_code == 201

    own_server.kill()
    own_server.start_and_wait()
    federation.wait_for_tests(1)

    assert_within_one_ulp(
        federation.weights(), federated_average([(10, weights(content)) for content in updates])
    )
    for participant in federation.participants:
        federation.report(participant)
    assert_finishes(federation)
    own_server.stop()
