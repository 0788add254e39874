"""The commands of docs/transfers.md, run one after the other as a reader would."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.federations import MakeFederation
from tests.model_files import drifted, tiny, torchscript
from tests.servers import REPOSITORY, Server


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_page_do_what_it_says(
    server: Server, make_federation: MakeFederation, tmp_path: Path
) -> None:
    page = (REPOSITORY / "docs" / "transfers.md").read_text()
    commands = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    federation = make_federation(rounds=1)
    participant = federation.participants[0]
    (tmp_path / "update.pt").write_bytes(torchscript(drifted(tiny(), seed=1)))
    variables = {
        "URL": server.url,
        "TOKEN": participant.token,
        "MODEL_ID": federation.model_id,
    }

    done = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "304"
    assert done.stdout.count("Model Update Accepted") == 2
    model = federation.actor.client.get(f"/api/models/{federation.model_id}/").content
    assert (tmp_path / "model.pt").read_bytes() == model
    assert not (tmp_path / "newer.pt").exists()
    assert federation.training()["local_models_arrived"] == 1
