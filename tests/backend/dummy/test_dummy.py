import re
import warnings
from collections.abc import Iterator

import httpx
import pytest
import torch

# Makes torchvision importable beside a torch it was not built for; unpickling imports it.
import compute.torchvision_guard  # noqa: F401
from tests.model_files import as_client_loads
from tests.servers import PostgreSQL, RayCluster, Server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def debug_server(
    request: pytest.FixtureRequest,
    ray_cluster: RayCluster,
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("debug") / "data",
        environment={**ray_cluster.environment(), "STARLING_DEBUG": "1"},
        database_url=postgresql.new_database() if request.param == "postgresql" else None,
    )
    server.start_and_wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def created(debug_server: Server) -> dict[str, object]:
    with debug_server.client() as client:
        answer = client.get("/api/dummy/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def actor(debug_server: Server) -> Iterator[httpx.Client]:
    with debug_server.client(auth=("dummy-user", "secret")) as client:
        yield client


def test_without_debug_mode_there_is_nothing(anonymous: httpx.Client) -> None:
    assert anonymous.get("/api/dummy/").status_code == 404


def test_the_answer_says_how_to_go_on(created: dict[str, object], actor: httpx.Client) -> None:
    me = actor.get("/api/users/myself/").json()
    credentials = created["user_credentials"]

    assert created["message"] == "Created Dummy Data in Metrics Database!"
    assert created["user_uuid"] == me["id"]
    assert isinstance(credentials, dict)
    assert (credentials["username"], credentials["password"]) == ("dummy-user", "secret")
    token = {"Authorization": f"Token {credentials['token']}"}
    assert httpx.get(actor.base_url.join("/api/users/myself/"), headers=token).json() == me


def test_the_training_is_completed(created: dict[str, object], actor: httpx.Client) -> None:
    training = actor.get(f"/api/trainings/{created['training_uuid']}/").json()

    assert (training["state"], training["target_num_updates"]) == ("C", 80)
    assert training["participants"] == created["participants"]
    assert len(training["participants"]) == 5


def test_each_participant_has_metrics_of_eighty_steps(
    created: dict[str, object], actor: httpx.Client
) -> None:
    training = actor.get(f"/api/trainings/{created['training_uuid']}/").json()

    metrics = actor.get(f"/api/models/{training['model']}/metrics/").json()

    assert len(metrics) == 5 * 80 * 2
    assert {one["reporter"] for one in metrics} == set(training["participants"])
    for key, low, spread in (
        ("NLLoss", lambda step: 27.354 / (step + 1), 1.0),
        ("Accuracy", lambda step: step / 80, 0.1),
    ):
        values = [one for one in metrics if one["key"] == key]
        assert sorted(one["step"] for one in values) == sorted(list(range(80)) * 5)
        assert all(0 <= one["value_float"] - low(one["step"]) <= spread + 1e-9 for one in values)
    assert all(re.fullmatch("[0-9a-f]{8}", one["identifier"]) for one in metrics)


def test_the_network_is_loaded_by_existing_clients(
    created: dict[str, object], actor: httpx.Client
) -> None:
    training = actor.get(f"/api/trainings/{created['training_uuid']}/").json()
    path = f"/api/models/{training['model']}/"

    metadata = actor.get(f"{path}metadata/").json()
    network = as_client_loads(actor.get(path).content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preprocessing = as_client_loads(actor.get(f"{path}preprocessing/").content)

    assert metadata["input_shape"] == [None, 3, 28, 28]
    image = preprocessing(torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8))
    assert image.shape == (1, 28, 28)
    assert network.eval()(image[None]).shape == (1, 10)


def test_a_second_call_uses_the_same_user(created: dict[str, object], debug_server: Server) -> None:
    with debug_server.client() as client:
        again = client.get("/api/dummy/").json()

    assert again["user_uuid"] == created["user_uuid"]
    assert again["training_uuid"] != created["training_uuid"]
