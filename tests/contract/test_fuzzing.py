"""The API document, held against the server by a fuzzer with a bounded budget.

Schemathesis makes requests from the document, good and bad, and checks that no answer is a 5xx,
that each has a documented status, type and shape, and that what the document forbids is refused.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.federations import People
from tests.servers import Server

EXAMPLES_PER_OPERATION = 8
FEW_EXAMPLES = 2
# Schemathesis asks for a refusal of unknown headers, which HTTP has ignored. What is allowed, a
# minute of waiting for news, would be spent at each example.
CONFIGURATION = """
[[operations]]
include-name = ["POST /api/uploads/", "PATCH /api/uploads/{upload_id}/"]
[operations.generation]
allow-extra-parameters = false
[[operations]]
include-path = "/api/users/myself/notifications/"
parameters = { wait = 0 }
"""
# It knows no media type but the common ones.
HOOKS = """
import schemathesis

@schemathesis.serializer("application/offset+octet-stream", "application/vnd.safetensors")
def bytes_as_they_are(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
"""


def test_a_fuzzer_finds_no_server_error_and_no_undocumented_answer(
    server: Server, make_user: People, tmp_path: Path
):
    person = make_user("fuzzer", actor=True, client=True)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    (tmp_path / "fuzzing_hooks.py").write_text(HOOKS)
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzzing_hooks", "PYTHONPATH": str(tmp_path)}
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{server.url}/api/schema/?format=json",
        "--header",
        # Not their token: the fuzzer replaces it.
        f"Authorization: {person.basic()['Authorization']}",
        "--phases=coverage,fuzzing",
        # PostgreSQL refuses more: what it takes, SQLite is asked in short.
        f"--max-examples={FEW_EXAMPLES if server.database_url is None else EXAMPLES_PER_OPERATION}",
        # Random ids name nothing, so that well-formed requests are refused, rightly. So many wrong
        # tokens as there are operations are answered 429; the test of docs/access.md tries each.
        "--exclude-checks=positive_data_acceptance,ignored_auth",
        "--seed=1",
        "--request-timeout=60",
        "--no-color",
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
