"""Blobs and rows stay in step: what a failed block leaves, and what the sweeper finds."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    LocalMoments,
    ModelVersion,
    Training,
    User,
)
from backend.errors import DatabaseFull, DatabaseUnavailable, OutcomeUnknown, WrongState
from backend.sweeper import BATCH, sweep
from backend.weights import Weights
from compute.blobs import BlobStoreUnavailable, LocalBlobStore, Staged


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'some.sqlite'}")
    await database.open()
    await migrate()
    yield database
    await database.close()


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return Weights(LocalBlobStore(tmp_path / "blobs"))


def stage(weights: Weights, content: bytes) -> Staged:
    writer = weights.blobs.stage()
    writer.write(content)
    return writer.finish()


def put(weights: Weights, content: str) -> str:
    return weights.blobs.put([content.encode()]).digest


def blobs(weights: Weights) -> set[str]:
    return set(weights.blobs.digests())


async def new_model(weights: Weights, name: str = "model") -> GlobalModel:
    """A model whose four blobs are in the store."""
    user = User(
        id=uuid.uuid4(),
        username=f"{name}-{uuid.uuid4()}",
        password_hash="",
        token_hash=uuid.uuid4().hex,
    )
    await User.insert(user)
    model = GlobalModel(
        id=uuid.uuid4(),
        kind="GLOBAL",
        owner=user.id,
        name=name,
        format="torchscript",
        digest=put(weights, name),
        size_bytes=1,
        preprocessing_digest=put(weights, f"{name} preprocessing"),
        swag_first_digest=put(weights, f"{name} first"),
        swag_second_digest=put(weights, f"{name} second"),
        num_parameters=1,
    )
    await GlobalModel.insert(model)
    return model


@pytest.mark.parametrize(
    ("error", "is_left"),
    [
        (WrongState("the round is closed"), False),
        (DatabaseFull("full"), False),
        # Whether its row was, or will be, committed is not known.
        (OutcomeUnknown("gone"), True),
        (DatabaseUnavailable("gone"), True),
        (asyncio.CancelledError(), True),
        (LookupError("a mistake of ours"), True),
    ],
)
async def test_a_blob_is_deleted_at_once_only_when_it_was_refused_for_certain(
    database: Database, weights: Weights, error: BaseException, is_left: bool
) -> None:
    await new_model(weights)
    before = blobs(weights)
    upload = stage(weights, b"an update")
    written = put(weights, "written by compute")

    for block in (weights.recorded(upload), weights.written(written)):
        with pytest.raises(type(error)):
            async with block:
                raise error

    assert blobs(weights) - before == ({upload.digest, written} if is_left else set())
    assert await sweep(weights, grace_seconds=0) == (2 if is_left else 0)
    assert blobs(weights) == before


async def test_a_refused_blob_that_another_row_needs_stays(
    database: Database, weights: Weights
) -> None:
    model = await new_model(weights)

    with pytest.raises(WrongState):
        async with weights.recorded(stage(weights, b"model")):
            raise WrongState("the round is closed")

    assert weights.blobs.exists(model.digest)


async def test_no_row_is_written_about_a_blob_that_is_gone(
    database: Database, weights: Weights
) -> None:
    with pytest.raises(BlobStoreUnavailable):
        async with weights.written(hashlib.sha256(b"").hexdigest()):
            pytest.fail("The block must not run.")


async def test_a_held_blob_is_not_swept_before_its_row_is_there(
    database: Database, weights: Weights
) -> None:
    model = await new_model(weights)
    digest = put(weights, "version 1")

    async with weights.held(digest, digest):
        sweeping = asyncio.create_task(sweep(weights, grace_seconds=0))
        # The sweep has looked by the time that it waits for the lock.
        done, _ = await asyncio.wait([sweeping], timeout=0.5)
        assert not done
        await ModelVersion.insert(
            ModelVersion(key="k", model=model.id, round=1, digest=digest, size_bytes=1)
        )

    assert await sweeping == 0
    assert weights.blobs.exists(digest)


async def test_the_sweeper_keeps_what_any_row_needs_and_deletes_the_rest(
    database: Database, weights: Weights
) -> None:
    model = await new_model(weights)
    training = Training(
        id=uuid.uuid4(),
        actor=model.owner,
        model=model.id,
        target_num_updates=1,
        aggregation_method="FedAvg",
        uncertainty_method="NONE",
    )
    await Training.insert(training)
    for k, kept in enumerate((True, False)):
        await ModelVersion.insert(
            ModelVersion(
                key=f"{k}",
                model=model.id,
                round=k,
                digest=put(weights, f"v{k}"),
                size_bytes=1,
                kept=kept,
            )
        )
        shared = {"round_key": "r", "training": training.id, "owner": model.owner, "sample_size": 1}
        await LocalModel.insert(
            LocalModel(
                key=f"{k}",
                base_model=model.id,
                round=0,
                digest=put(weights, f"u{k}"),
                size_bytes=1,
                kept=kept,
                **shared,
            )
        )
        await LocalMoments.insert(
            LocalMoments(
                key=f"{k}",
                first_digest=put(weights, f"f{k}"),
                second_digest=put(weights, f"s{k}"),
                kept=kept,
                **shared,
            )
        )
    needed = blobs(weights) - {put(weights, f"{kind}1") for kind in "vufs"}
    assert len(needed) == 8
    for k in range(BATCH + 10):
        put(weights, f"orphan {k}")

    assert await sweep(weights, grace_seconds=3600) == 0
    assert await sweep(weights, grace_seconds=0) == BATCH + 10 + 4
    assert blobs(weights) == needed
    assert await sweep(weights, grace_seconds=0) == 0


async def test_the_blobs_of_another_database_are_left_alone(
    database: Database, weights: Weights, tmp_path: Path
) -> None:
    orphan = put(weights, "what a forgotten setting made an orphan")
    assert await sweep(weights, grace_seconds=0) == 0
    await new_model(Weights(LocalBlobStore(tmp_path / "other blobs")))

    assert await sweep(weights, grace_seconds=0) == 0
    assert blobs(weights) == {orphan}
