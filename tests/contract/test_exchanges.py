"""Every recorded exchange is sent again; status and shape are the recorded or the contract's."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.contract.exchanges import (
    UUID,
    Exchange,
    Sending,
    assert_answered,
    load_exchanges,
    send,
)
from tests.contract.situations import LATER, ROWS, Row
from tests.contract.world import World
from tests.federations import People
from tests.servers import Server

EXCHANGES = load_exchanges()
# Recorded ids of models for which trainings were created.
TRAINED_MODELS = {
    model
    for exchange in EXCHANGES.values()
    if exchange.name.startswith("trainings.create")
    for model in UUID.findall(json.dumps(exchange.request_body).partition('"clients"')[0])
}


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


def ids_here(world: World, row: Row) -> dict[str, str]:
    """What recorded ids in bodies stand for: the people, and the row's model."""
    people = {
        recorded_id("users.create.ok", "id"): world.actor.id,
        recorded_id("users.create.client1", "id"): world.client1.id,
        recorded_id("users.create.client2", "id"): world.client2.id,
        recorded_id("users.create.outsider", "id"): world.outsider.id,
    }
    return people | {recorded: row.model(world) for recorded in TRAINED_MODELS}


def sending(world: World, row: Row) -> Sending:
    headers = {} if row.authorization is None else {"Authorization": row.authorization(world)}
    return Sending(
        client=world.anonymous if row.caller is None else row.caller(world).client,
        headers=headers,
        path_id=row.path_id(world),
        ids=ids_here(world, row),
        files=row.files,
        lost=row.lost,
    )


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name in ROWS])
def test_exchange(world: World, name: str) -> None:
    row, exchange = ROWS[name], EXCHANGES[name]
    this = sending(world, row)
    if row.after:
        first = sending(world, ROWS[row.after])
        answered = send(EXCHANGES[row.after], Sending(**{**vars(first), "suffix": this.suffix}))
        assert answered.status_code < 300, answered.text

    answer = send(exchange, this)

    assert_answered(exchange, answer, row.expected(exchange))


def is_later(exchange: Exchange) -> bool:
    return any(fnmatch(exchange.name, pattern) for pattern in LATER)


def test_every_exchange_has_a_row_or_is_known_to_come_later() -> None:
    without = {one.name for one in EXCHANGES.values() if one.name not in ROWS}
    later = {one.name for one in EXCHANGES.values() if is_later(one)}

    assert without - later == set()
    assert set(ROWS) <= set(EXCHANGES)
    assert later & set(ROWS) == set()
