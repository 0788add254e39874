"""What NVFlare's server runs of `nvflare_round.py`: its FedAvg, and a model made of nothing."""

from pathlib import Path

import numpy as np
from layers import first_model
from marks import mark
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import (
    ModelLearnable,
    ModelLearnableKey,
    make_model_learnable,
)
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.workflows.fedavg import FedAvg


class MarkedFedAvg(FedAvg):
    """Says when it begins a round. Its arguments become the job's configuration."""

    def __init__(self, marks: str, num_clients: int, num_rounds: int, persistor_id: str) -> None:
        super().__init__(num_clients=num_clients, num_rounds=num_rounds, persistor_id=persistor_id)
        self.marks = marks

    def sample_clients(self, num_clients: int) -> list[str]:
        """Choosing who takes part is the first that a round does."""
        mark(Path(self.marks))
        return list(super().sample_clients(num_clients))

    def run(self) -> None:
        """All rounds."""
        super().run()
        mark(Path(self.marks))


class LayersPersistor(ModelPersistor):
    """Begins with random layers; keeps each round's model as a file like NVFlare's own do."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.parameters = parameters

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """The first model."""
        del fl_ctx
        return make_model_learnable(weights=first_model(self.parameters), meta_props={})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """In the folder of the job's results."""
        folder = Path(fl_ctx.get_workspace().get_result_root(fl_ctx.get_job_id()))
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "model.npz", **model[ModelLearnableKey.WEIGHTS])
