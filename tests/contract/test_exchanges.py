"""Every recorded exchange is sent again; status and shape are the recorded or the contract's."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import ServerMaker
from tests.contract.exchanges import (
    UUID,
    Exchange,
    Sending,
    assert_answered,
    load_exchanges,
    send,
)
from tests.contract.situations import DEBUG_ROWS, ROWS, Row
from tests.contract.world import World
from tests.federations import People
from tests.servers import Server

EXCHANGES = load_exchanges()


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    people = People(server)
    world = World(people)
    yield world
    world.anonymous.close()
    people.close()


def recorded_id(name: str, key: str) -> str:
    response = EXCHANGES[name].response
    assert isinstance(response, dict)
    return str(response[key])


def ids_here(world: World, row: Row, exchange: Exchange) -> dict[str, str]:
    """What recorded ids in the body stand for: people, members of a mean, the row's model."""
    here = {
        recorded_id("users.create.ok", "id"): lambda: world.actor.id,
        recorded_id("users.create.client1", "id"): lambda: world.client1.id,
        recorded_id("users.create.client2", "id"): lambda: world.client2.id,
        recorded_id("users.create.outsider", "id"): lambda: world.outsider.id,
    }
    if exchange.name.startswith("models.create"):
        here |= {
            recorded_id("models.create.torchscript", "model_id"): lambda: world.member,
            recorded_id("models.create.second", "model_id"): lambda: world.other_member,
            recorded_id("models.create.ens1", "model_id"): lambda: world.member,
            recorded_id("models.create.ens2", "model_id"): lambda: world.other_member,
        }
    found = set(UUID.findall(json.dumps(exchange.request_body)))
    ids = {recorded: make() for recorded, make in here.items() if recorded in found}
    # Only of the model that is to be trained or to predict may another id be.
    if exchange.name.startswith(("trainings.create", "inference")):
        order = json.dumps(exchange.request_body).partition('"clients"')[0]
        ids |= dict.fromkeys(UUID.findall(order)[:1], row.model(world))
    return ids


def sending(world: World, row: Row, exchange: Exchange) -> Sending:
    headers = {} if row.authorization is None else {"Authorization": row.authorization(world)}
    return Sending(
        client=world.anonymous if row.caller is None else row.caller(world).client,
        headers=headers,
        path_id=row.path_id(world),
        ids=ids_here(world, row, exchange),
        files=row.files,
        lost=row.lost,
        model_input=row.model_input,
    )


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name in ROWS])
def test_exchange(world: World, name: str) -> None:
    row, exchange = ROWS[name], EXCHANGES[name]
    this = sending(world, row, exchange)
    if row.after:
        before = EXCHANGES[row.after]
        first = sending(world, ROWS[row.after], before)
        answered = send(before, replace(first, suffix=this.suffix))
        assert answered.status_code < 300, answered.text

    answer = send(exchange, this)

    expected = exchange if row.better is None else replace(exchange, response=row.better)
    assert_answered(expected, answer, row.expected(exchange))
    assert row.says in answer.text
    assert not row.absent or row.absent not in answer.text


@pytest.mark.parametrize("name", DEBUG_ROWS)
def test_exchange_in_debug_mode(new_server: ServerMaker, name: str) -> None:
    people = People(new_server({"STARLING_DEBUG": "1"}).start_and_wait())
    world = World(people)
    try:
        row, exchange = DEBUG_ROWS[name], EXCHANGES[name]
        assert_answered(
            exchange, send(exchange, sending(world, row, exchange)), row.expected(exchange)
        )
    finally:
        world.anonymous.close()
        people.close()


def test_every_exchange_is_sent_again() -> None:
    assert ROWS.keys() | DEBUG_ROWS.keys() == EXCHANGES.keys()
    assert not ROWS.keys() & DEBUG_ROWS.keys()
