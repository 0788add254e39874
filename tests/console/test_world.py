"""The world is what its docstring says."""

from tests.console.trainings import Training
from tests.console.world import World


def standing(training: Training) -> tuple[object, object, object]:
    now = training.now()
    return now["state"], now["phase"], now["local_models_arrived"]


def test_world_has_a_training_in_every_state(world: World) -> None:
    assert standing(world.finished) == ("C", "closed", 0)
    assert standing(world.waiting) == ("O", "collecting", 2)
    assert standing(world.unstarted) == ("I", None, 0)
    assert standing(world.paused) == ("O", "collecting", 1)
    assert world.paused.now()["paused"] is True
    assert world.aborted.now()["state"] == "E"
