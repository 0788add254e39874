"""The direction of dependencies is the architecture: no arrow may point the wrong way."""

from pathlib import Path

import pytest

from tests.architecture.imports import PACKAGES, read_modules, violations

ROOT = Path(__file__).resolve().parents[2]


def plant(root: Path, path: str, source: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)


def test_the_project_has_no_forbidden_arrow() -> None:
    assert violations(ROOT) == []


def test_the_walker_sees_every_package() -> None:
    packages = {module.name.split(".")[0] for module in read_modules(ROOT)}
    assert packages == set(PACKAGES)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("backend/app.py", "import torch"),
        ("backend/app.py", "import torch.nn.functional as F"),
        ("backend/models/service.py", "def f():\n    from torchvision import transforms"),
        ("backend/app.py", "if TYPE_CHECKING:\n    import ray"),
        ("backend/app.py", "import importlib\nimportlib.import_module('torch')"),
        ("backend/app.py", "from compute.aggregator import Aggregator"),
        ("backend/app.py", "from compute import formats"),
        ("backend/app.py", "import examples.digits"),
        ("backend/app.py", "from starling_client import join"),
        ("backend/rounds/state.py", "import piccolo"),
        ("backend/rounds/state.py", "from backend.db.tables import Training"),
        ("backend/rounds/state.py", "from ..db import tables"),
        ("backend/app.py", "import os\nx = os.environ.get('STARLING_PORT')"),
        ("backend/app.py", "import os\nx = os.environ['STARLING_PORT']"),
        ("backend/app.py", "import os\nx = os.getenv('STARLING_PORT')"),
        ("backend/app.py", "from os import environ"),
        ("backend/utils.py", ""),
        ("backend/helpers/text.py", ""),
        ("compute/aggregator.py", "from backend.db import tables"),
        ("compute/aggregator.py", "import starling_client"),
        ("compute/aggregator.py", "import ray"),
        ("compute/formats.py", "from ray import get"),
        ("compute/strategies/fedavg.py", "import ray"),
        ("compute/strategies/fedavg.py", "import httpx"),
        ("compute/uncertainty/measures.py", "from ray.util import queue"),
        ("compute/state_dicts.py", "import numpy"),
        ("compute/contract.py", "import torch"),
        ("compute/contract.py", "from compute.blobs import BlobStore"),
        ("compute/blobs.py", "import httpx"),
        ("compute/blobs.py", "from compute.formats import load"),
        ("compute/aggregator.py", "handle.fold.remote(update)"),
        ("compute/actors.py", "import ray\nray.get(reference)"),
        ("compute/manager.py", ""),
        ("examples/digits/demo.py", "from backend.settings import Settings"),
        ("examples/digits/demo.py", "from compute.contract import ModelFormat"),
        ("client/starling_client/tasks.py", "from compute.state_dicts import StateDict"),
        ("client/starling_client/wire.py", "from backend.users.schemas import UserJson"),
        ("client/starling_client/wire.py", "import examples.digits"),
        ("client/starling_client/helpers.py", ""),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, source: str) -> None:
    plant(tmp_path, path, source)
    module = path.removeprefix("client/").removesuffix(".py").replace("/", ".")
    found = violations(tmp_path)
    assert found
    assert all(sentence.startswith(module) for sentence in found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("backend/app.py", "from compute.contract import Rejected\nimport litestar, msgspec"),
        ("backend/cli.py", "from compute.ray_gateway import RayGateway"),
        ("backend/app.py", "import os\nos.environ['PICCOLO_CONF'] = 'backend.db.piccolo_conf'"),
        ("backend/settings.py", "import os\nx = os.environ['STARLING_PORT']"),
        ("backend/raycast.py", "import raylib, torchless"),
        ("backend/rounds/state.py", "import enum, msgspec"),
        ("backend/data_dir.py", ""),
        ("compute/blobs.py", "import hashlib\nimport obstore\nfrom obstore.store import S3Store"),
        ("compute/actors.py", "import ray\nActor = ray.remote(num_cpus=1)(Plain)"),
        ("compute/ray_gateway.py", "import ray\nray.get(actor.fold.remote(update))"),
        ("compute/strategies/fedavg.py", "import torch\nfrom compute.contract import UpdateRef"),
        ("examples/digits/demo.py", "import httpx, os\nfrom examples.digits import shares"),
        ("examples/script/after.py", "import starling_client"),
        ("client/starling_client/tasks.py", "import torch\nfrom starling_client import wire"),
    ],
)
def test_what_the_design_allows_is_not_reported(tmp_path: Path, path: str, source: str) -> None:
    plant(tmp_path, path, source)
    assert violations(tmp_path) == []
