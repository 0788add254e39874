"""Back up, lose everything, restore, upgrade: the training goes on where the copy was made."""

import shutil
from pathlib import Path

from tests.conftest import ServerMaker
from tests.docs.pages import Page, run, serving
from tests.federations import People, new_federation
from tests.model_files import assert_within_one_ulp, drifted, federated_average, tiny, torchscript
from tests.model_files import weights as weights_of
from tests.servers import LEAN, PostgreSQL, RayCluster, free_port
from tests.waiting import wait_until
from tests.webhooks import WebhookReceiver

BACKUP = Page("how-to/backup.md")
UPGRADE = Page("how-to/upgrade.md")


def test_an_open_round_goes_on_from_a_copy_after_the_disk_is_lost(
    new_server: ServerMaker, webhooks: WebhookReceiver, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    copy, restore, serve, *_ = BACKUP.blocks("bash")
    server = new_server().start_and_wait()
    people = People(server)
    federation = new_federation(
        people, webhooks, participants=2, rounds=1, options={"skip_model_tests": True}
    )
    first, second = federation.participants
    updates = [torchscript(drifted(tiny(), seed=seed)) for seed in (1, 2)]
    assert federation.upload(first, updates[0]).status_code == 201
    server.stop()
    port = free_port()
    restored_url = f"http://127.0.0.1:{port}"
    restored = {
        "RESTORED": str(tmp_path / "restored"),
        "TRAINING_ID": federation.training_id,
        "URL": restored_url,
    }

    run(copy, tmp_path, {"STARLING_DATA_DIR": str(server.data_dir)})
    shutil.rmtree(server.data_dir)
    verified = run(restore, tmp_path, restored)
    own = {"STARLING_PORT": str(port), **LEAN, **restored, **ray_cluster.environment()}
    with serving(serve, restored_url, own, tmp_path / "restored.log"):
        for person in people.made:
            person.client.base_url = restored_url
        assert federation.training()["local_models_arrived"] == 1
        for participant, update in ((first, updates[0]), (second, updates[1])):
            assert federation.upload(participant, update).status_code == 201
        wait_until(lambda: federation.training()["state"] == "C", what="the training's end")
        told = first.client.get("/api/users/myself/notifications/?after=0").json()
        trained = federation.weights()
        data_dir = {"STARLING_DATA_DIR": restored["RESTORED"]}
        upgraded = run("".join(UPGRADE.blocks("bash")), tmp_path, restored | data_dir)
    people.close()

    assert "Verified:" in verified
    assert "Verified:" in upgraded
    assert [each["notification_type"] for each in told] == [
        "TRAINING_START",
        "UPDATE_ROUND_START",
        "TRAINING_FINISHED",
    ]
    expected = federated_average([(10, weights_of(update)) for update in updates])
    assert_within_one_ulp(trained, expected)
    assert (tmp_path / "restored").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "starling-backup.tar").stat().st_mode & 0o777 == 0o600


def test_a_postgresql_database_is_dumped_and_restored(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    dump, restore = BACKUP.blocks("bash")[3:]
    old, new = postgresql.new_database(), postgresql.new_database()
    settings = {
        "STARLING_DATA_DIR": str(tmp_path / "data"),
        "STARLING_DATABASE_URL": old,
        "NEW_DATABASE_URL": new,
        "STARLING_PASSWORD_HASHING": "owasp",
    }
    programs = f'PATH="{postgresql.programs()}:$PATH"\n'
    run("echo a-secret | starling user create kept --password-stdin", tmp_path, settings)

    run(programs + dump + restore, tmp_path, settings)

    token = "starling user token kept"
    assert run(token, tmp_path, settings | {"STARLING_DATABASE_URL": new}) == run(
        token, tmp_path, settings
    )
