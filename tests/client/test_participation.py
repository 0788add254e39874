"""Taking part in trainings of a real server, in threads and tasks of this process."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import starling_client
import torch
from starling_client import Outcome, Task, Webhook, errors, tasks
from torch import nn

from tests.client.scripted_servers import Asked, Reply, ScriptedServer, refusal
from tests.federations import Federation, MakeFederation, People, Person
from tests.model_files import federated_average, pickled, tiny
from tests.servers import Server

Work = Callable[[Task], starling_client.Receipt]


def taking_part(
    server: Server, federation: Federation, work: Work, webhook: Webhook | None = None
) -> list[list[tuple[str, int]]]:
    """What each participant was asked for until the training ended; `work` does it."""

    def take_part(person: Person) -> list[tuple[str, int]]:
        asked = []
        try:
            for task in starling_client.join(
                server.url, person.token, training=federation.training_id, webhook=webhook
            ):
                assert work(task).accepted
                asked.append((task.kind.name, task.round))
        except BaseException:
            # Or the others would wait for this one.
            federation.actor.client.post(f"/api/trainings/{federation.training_id}/abort/")
            raise
        return asked

    with ThreadPoolExecutor(len(federation.participants)) as threads:
        return list(threads.map(take_part, federation.participants))


def test_a_swag_training_with_fedprox_is_taken_to_its_end(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation(
        rounds=1,
        model=pickled(tiny()),
        model_type="SWAG",
        uncertainty_method="SWAG",
        aggregation_method="FedProx",
        options={"mu": 0.5},
    )

    def work(task: Task) -> starling_client.Receipt:
        model = task.model()
        assert model.training is not task.is_evaluation
        if task.is_evaluation:
            return task.submit(metrics={"accuracy": 1.0})
        batch = torch.ones(4, 3)
        assert task.mu == (0.5 if task.is_training else 0.0)
        assert starling_client.proximal(model, task.global_parameters, task.mu).item() == 0.0
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        moments = starling_client.SwagMoments(model)
        for _ in range(3):
            loss = model(batch).square().sum()
            (loss + starling_client.proximal(model, task.global_parameters, task.mu)).backward()
            optimizer.step()
            moments.collect()
        if task.collects_moments:
            return task.submit(moments, sample_size=4)
        assert starling_client.proximal(model, task.global_parameters, task.mu).item() > 0.0
        return task.submit(model, sample_size=4)

    asked = taking_part(server, federation, work)

    assert asked == [[("TRAIN", 0), ("COLLECT_MOMENTS", 1), ("EVALUATE", 1)]] * 2
    metadata = federation.actor.client.get(f"/api/models/{federation.model_id}/metadata/").json()
    assert metadata["swag_first_moment"]
    assert metadata["swag_second_moment"]


def test_webhooks_bring_the_same_and_networks_of_ones_own_are_filled(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation(rounds=2, options={"model_test_after_each_round": False})
    before = federation.weights()

    def work(task: Task) -> starling_client.Receipt:
        network = tiny(9)
        assert task.model(network) is network
        if task.is_training and task.round == 0:
            for name, tensor in network.state_dict().items():
                assert torch.equal(tensor, torch.from_numpy(before[name]))
            with torch.no_grad():
                network[0].bias.add_(1.0)
        return task.submit(network.state_dict(), metrics={"accuracy": 0.5}, sample_size=3)

    asked = taking_part(server, federation, work, Webhook())

    assert asked == [[("TRAIN", 0), ("TRAIN", 1), ("EVALUATE", 2)]] * 2
    moved = before | {"0.bias": before["0.bias"] + 1.0}
    expected = federated_average([(3, moved)])
    assert all((federation.weights()[name] == expected[name]).all() for name in expected)
    # What was there before is there again: the receiver of this test's federation.
    for person in federation.participants:
        endpoint = person.client.get("/api/users/myself/").json()["message_endpoint"]
        assert endpoint == federation.webhooks.endpoint(federation.names[person.id])


async def test_awaiting_participants_take_a_training_to_its_end(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = await asyncio.to_thread(make_federation, rounds=1)

    async def take_part(person: Person) -> list[tuple[str, int]]:
        asked = []
        async for task in starling_client.join_async(
            server.url, person.token, training=federation.training_id
        ):
            model = await task.model() if task.is_training else await task.model(tiny())
            receipt = await task.submit(model, metrics={"accuracy": 0.5}, sample_size=3)
            assert receipt.accepted
            asked.append((task.kind.name, task.round))
        return asked

    asked = await asyncio.gather(*map(take_part, federation.participants))

    assert asked == [[("TRAIN", 0), ("EVALUATE", 1)]] * 2


@pytest.fixture
def open_round(
    server: Server, make_federation: MakeFederation
) -> Iterator[tuple[Federation, Task]]:
    """The first task of the first of two participants."""
    federation = make_federation(rounds=2)
    token = federation.participants[0].token
    joined = starling_client.join(server.url, token, training=federation.training_id)
    with contextlib.closing(joined):
        yield federation, next(joined)


def test_an_update_that_comes_too_late_is_an_answer(
    open_round: tuple[Federation, Task], caplog: pytest.LogCaptureFixture
) -> None:
    federation, task = open_round
    other = federation.upload(federation.participants[1], pickled(tiny()))
    assert other.is_success
    closed = federation.actor.client.post(f"/api/trainings/{federation.training_id}/close-round/")
    assert closed.status_code == 202

    receipt = task.submit(task.model(), sample_size=1)

    assert receipt.outcome is Outcome.TOO_LATE
    assert not receipt.accepted
    assert "takes no updates any more" in receipt.detail
    assert "too late" in caplog.text


def test_a_metric_of_another_name_than_the_actors_is_said(
    server: Server, open_round: tuple[Federation, Task], caplog: pytest.LogCaptureFixture
) -> None:
    federation, task = open_round
    assert federation.upload(federation.participants[1], pickled(tiny())).is_success
    assert task.submit(task.model(), sample_size=1).accepted
    token = federation.participants[0].token
    joined = starling_client.join(server.url, token, training=federation.training_id)
    with contextlib.closing(joined):
        evaluation = next(joined)
        assert evaluation.is_evaluation
        assert evaluation.submit(metrics={"acuracy": 0.5}).accepted
    assert "The actor asks for accuracy; this evaluation reports acuracy." in caplog.text


def test_who_delivered_something_else_before_is_told_so(
    open_round: tuple[Federation, Task],
) -> None:
    federation, task = open_round
    model = task.model()
    assert task.submit(model, sample_size=1).accepted
    # The same again is the same; a second process with the same token has trained otherwise.
    assert task.submit(model, sample_size=1).accepted
    receipt = task.submit(model, sample_size=2)
    assert receipt.outcome is Outcome.DELIVERED_BEFORE
    assert federation.training()["local_models_arrived"] == 1


def test_what_is_wrong_is_said_before_or_by_the_server(
    open_round: tuple[Federation, Task],
) -> None:
    _, task = open_round
    with pytest.raises(errors.BadSubmission, match=r"task\.model\(\)"):
        _ = task.global_parameters
    model = task.model()
    for arguments, says in (
        ({}, "sample_size"),
        ({"sample_size": 0}, "sample_size"),
        ({"sample_size": 3}, "trained model"),
    ):
        with pytest.raises(errors.BadSubmission, match=says):
            task.submit(**arguments)  # type: ignore[arg-type]
    with pytest.raises(errors.UnusableModel, match=r"0\.weight"):
        task.model(nn.Sequential(nn.Linear(5, 2)))
    with pytest.raises(errors.InvalidRequest, match="missing") as raised:
        task.submit({"another": torch.ones(2)}, sample_size=3)
    assert raised.value.errors
    with pytest.raises(errors.InvalidRequest, match="metric_names"):
        task.submit(model, metrics={"k" * 33: 1.0}, sample_size=3)


def test_a_large_update_goes_in_parts_and_where_no_put_gets_through_by_form(
    server: Server, make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = make_federation(rounds=1, options={"skip_model_tests": True})
    first, second = federation.participants

    def forwarded(asked: Asked) -> Reply:
        if asked.method == "PUT":
            return refusal(405, "Method not allowed here.")
        headers = {k: v for k, v in asked.headers.items() if k not in {"host", "accept-encoding"}}
        with server.client() as client:
            answer = client.request(
                asked.method, asked.path, content=asked.body, headers=headers, timeout=90
            )
        kept = {k: v for k, v in answer.headers.items() if k in {"etag", "content-type"}}
        return Reply(answer.status_code, answer.content, kept)

    with ScriptedServer(forwarded) as proxy:
        joined = starling_client.join(proxy.url, first.token, training=federation.training_id)
        with contextlib.closing(joined):
            task = next(joined)
            assert task.submit(task.model(), sample_size=1).accepted
        methods = [asked.method for asked in proxy.asked if "/models/" in asked.path]
        assert methods == ["GET", "PUT", "POST"]
    monkeypatch.setattr(tasks, "RESUMABLE_FROM_BYTES", 1)
    joined = starling_client.join(server.url, second.token, training=federation.training_id)
    with contextlib.closing(joined):
        task = next(joined)
        assert task.submit(task.model(), sample_size=1).accepted
        assert list(joined) == []
    assert federation.training()["state"] == "C"


def test_a_training_that_ends_early_says_why(
    server: Server,
    make_federation: MakeFederation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    federation = make_federation(rounds=2)
    aborted, removed = (
        starling_client.join(server.url, person.token, training=federation.training_id)
        for person in federation.participants
    )
    late, _ = next(aborted), next(removed)
    actor, path = federation.actor.client, f"/api/trainings/{federation.training_id}"
    gone = {"clients": [federation.participants[1].id]}
    assert actor.request("DELETE", f"{path}/clients/", json=gone).is_success
    with pytest.raises(errors.RemovedFromTraining, match="was removed from"):
        next(removed)
    assert actor.post(f"{path}/abort/").is_success
    assert late.submit(late.model(), sample_size=1).outcome is Outcome.TOO_LATE
    with pytest.raises(errors.TrainingFailed, match="The actor aborted the training"):
        next(aborted)
    # Nothing stays behind of either.
    assert list(tmp_path.iterdir()) == []


def test_who_cannot_join_is_told_why(
    server: Server, make_federation: MakeFederation, make_user: People
) -> None:
    federation = make_federation(rounds=1, started=False)
    token = federation.participants[0].token

    def joining(token: str | None, training: str | None) -> None:
        next(starling_client.join(server.url, token, training=training))

    with pytest.raises(errors.NotAuthenticated, match=r"Invalid token\."):
        joining("0" * 40, federation.training_id)
    with pytest.raises(errors.UnknownTraining, match="Ask the actor"):
        joining(token, "00000000-0000-0000-0000-000000000000")
    for stranger in (make_user(), federation.actor):
        with pytest.raises(errors.NotAParticipant, match="Ask its actor"):
            joining(stranger.token, federation.training_id)
    with pytest.raises(errors.MissingSetting, match="STARLING_CLIENT_TOKEN"):
        joining(None, federation.training_id)
