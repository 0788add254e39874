"""The commands of docs/transfers.md, run one after the other as a reader would."""

import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch

from tests.docs import pages
from tests.federations import MakeFederation
from tests.model_files import drifted, tiny, torchscript
from tests.servers import Server

NEEDED = ("curl", "openssl", "zstd")


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
def test_the_commands_of_the_page_do_what_it_says(
    server: Server, make_federation: MakeFederation, tmp_path: Path
) -> None:
    sections = pages.Page("transfers.md").text.split("\n## ")
    begin, download, in_one_request, resumable = map(commands_of, sections)
    federation = make_federation(participants=3, rounds=1)
    first, second, _ = federation.participants
    (tmp_path / "update.pt").write_bytes(torchscript(drifted(tiny(), seed=1)))
    trained = drifted(tiny(), seed=2).state_dict()
    (tmp_path / "update.safetensors").write_bytes(safetensors.torch.save(trained))

    def run(commands: str, token: str) -> str:
        variables = {"URL": server.url, "TOKEN": token, "MODEL_ID": federation.model_id}
        return pages.run(begin + commands, tmp_path, variables)

    assert run(download, first.token).splitlines()[0] == "304"
    for printed in (run(in_one_request, second.token), run(resumable, first.token)):
        assert printed.count("Model Update Accepted") == 2

    model = federation.actor.client.get(f"/api/models/{federation.model_id}/").content
    assert (tmp_path / "model.pt").read_bytes() == model
    assert not (tmp_path / "newer.pt").exists()
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == trained.keys()
    sizes = [(tmp_path / f"model{name}.safetensors").stat().st_size for name in ("", "-int8")]
    assert min(sizes) > 0
    assert federation.training()["local_models_arrived"] == 2


def commands_of(section: str) -> str:
    """The commands of a section of the page."""
    return "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))
