"""examples/curl/participant.sh beside a participant that uses the SDK."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import starling_client

from tests.federations import MakeFederation
from tests.servers import REPOSITORY, Server, bare_environment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not all(map(shutil.which, ("curl", "jq"))), reason="needs curl and jq"),
]

TRAIN = """
import sys, safetensors.torch
state = safetensors.torch.load_file(sys.argv[1])
safetensors.torch.save_file({name: tensor + 1 for name, tensor in state.items()}, sys.argv[2])
print(30)
"""
EVALUATE = "print(0.75)"


def test_curl_and_jq_take_part(
    server: Server, make_federation: MakeFederation, tmp_path: Path
) -> None:
    federation = make_federation(rounds=2)
    first, second = federation.participants
    before = federation.weights()
    for name, text in (("train", TRAIN), ("evaluate", EVALUATE)):
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)
    environment = bare_environment() | {
        "URL": server.url,
        "TOKEN": first.token,
        "TRAINING": federation.training_id,
    }
    with subprocess.Popen(
        [REPOSITORY / "examples/curl/participant.sh", tmp_path / "train", tmp_path / "evaluate"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as curl:
        try:
            for task in starling_client.join(
                server.url, second.token, training=federation.training_id
            ):
                task.submit(task.model(), metrics={"accuracy": 0.25}, sample_size=10)
            printed, _ = curl.communicate(timeout=60)
        finally:
            curl.kill()

    assert curl.returncode == 0, printed
    assert printed.splitlines() == [
        *(["Model Update Accepted", "Model Metrics Upload Accepted"] * 2),
        "TRAINING_FINISHED",
    ]
    # 30 of 40 samples moved by 1 in each of two rounds.
    moved = federation.weights()["0.weight"] - before["0.weight"]
    assert moved == pytest.approx(1.5, abs=1e-5)
