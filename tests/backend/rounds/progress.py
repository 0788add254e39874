"""How far a training is, as its actor sees it, and updates that bring it on."""

from tests.federations import Federation
from tests.model_files import drifted, tiny, torchscript
from tests.waiting import wait_until


def update(seed: int) -> bytes:
    return torchscript(drifted(tiny(), seed=seed))


def wait_for_state(federation: Federation, state: str) -> dict[str, object]:
    def reached() -> dict[str, object] | None:
        training = federation.training()
        return training if training["state"] == state else None

    return wait_until(reached, what=f"state {state}")


def rounds_of(federation: Federation) -> list[dict[str, object]]:
    answer = federation.actor.client.get(f"/api/trainings/{federation.training_id}/rounds/")
    assert answer.status_code == 200, answer.text
    return list(answer.json())
