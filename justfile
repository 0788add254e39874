# Every recipe does its own set-up: in a fresh clone `just demo` is all it takes.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments := true

# What .venv was made from; `just setup` has nothing to do while it is unchanged.
made_from := sha256(sha256_file("pyproject.toml") + sha256_file("client/pyproject.toml") + sha256_file("constraints.txt") + justfile_directory())
python := ".venv/bin/python"

[private]
default:
    @just --list --unsorted

# Make or refresh .venv with everything pinned in constraints.txt
[group('run')]
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ "$(cat .venv/made-from 2>/dev/null)" == "{{ made_from }}" ]] && .venv/bin/python -c '' 2>/dev/null; then
        exit 0
    fi
    for candidate in python3 python python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [[ -z "${python:-}" ]]; then
        echo "setup: no Python 3.11 or newer on the PATH (looked for python3, python, python3.11 to python3.13)" >&2
        exit 1
    fi
    echo "Setting up .venv with $("$python" --version); the first time this takes a few minutes." >&2
    rm -f .venv/made-from
    # Without --clear a half-made or moved environment would stay half-made.
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]' -e client
    echo "{{ made_from }}" > .venv/made-from
    echo "Done; . .venv/bin/activate puts starling and starling-client on the PATH." >&2

# Train digits federatedly on this machine: --participants 5 --rounds 10 --alpha 0.5 --seed 0 --port N --exit
[group('run')]
demo *args: setup
    @exec .venv/bin/starling demo "$@"

# Run the server: --host 127.0.0.1 --port 8000 --data-dir DIR --debug
[group('run')]
serve *args: setup
    @exec .venv/bin/starling serve "$@"

# Run the tests; arguments go to pytest
[group('develop')]
test *args: setup
    @exec {{ python }} -m pytest "$@"

# Pictures of every page of the console: --out screenshots --only NAME; --readme; or --serve [--port N] its world
[group('develop')]
screenshots *args: setup
    @exec {{ python }} -m tests.console "$@"

# Kill things during real trainings: --runs 100 --seed 0 --database both --from RUN, --only RUN; or --participants 1000
[group('develop')]
chaos *args: setup
    @exec {{ python }} -m tests.chaos "$@"

# Measure: turnaround, round, transfer, aggregate, robust, predict, idle, start, simulate or all; --quick
[group('develop')]
bench *args: setup
    @exec {{ python }} -m benchmarks "$@"

# Build the documentation site from docs/ and the code into site/; arguments go to mkdocs build
[group('develop')]
docs *args: setup
    @NO_MKDOCS_2_WARNING=1 {{ python }} -m mkdocs build --strict "$@"

# Compute published results again: fedprox, feddc, calibration or all; --write puts them into docs/papers.md
[group('develop')]
papers *args: setup
    @exec {{ python }} -m benchmarks.papers "$@"

# Put the figures of `just bench` into docs/performance.md
[group('maintain')]
bench-page *args: setup
    @exec {{ python }} -m benchmarks.page "$@"

# Look for mistakes without changing a file: ruff and mypy
[group('develop')]
check: setup
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .
    {{ python }} -m mypy

# Mend formatting and what ruff can mend by itself
[group('develop')]
fmt: setup
    {{ python }} -m ruff check --fix-only --quiet .
    {{ python }} -m ruff format .

# Remove .venv and what the tools leave behind
[group('develop')]
clean:
    rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist client/dist site
    find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Fetch the vendored front-end assets again, as frontend_static/vendor/vendor.json pins them (--update: pin anew)
[group('maintain')]
assets *args: setup
    {{ python }} .ci/vendor_assets.py "$@"

# Write constraints.txt anew from the newest versions that pyproject.toml allows
[group('maintain')]
lock:
    #!/usr/bin/env bash
    set -euo pipefail
    {{ just_executable() }} setup
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    .venv/bin/python -m venv "$scratch/venv"
    "$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[demo,dev]' -e client
    {
        sed -n '/^#/p' constraints.txt
        # The build backend lives in an environment of its own, so freeze does not see it. Local
        # version labels (+cpu) say which build an index offered here, not what we depend on.
        {
            "$scratch/venv/bin/python" -m pip freeze --exclude-editable | sed -E 's/^([^ ]+==[^+ ]+)\+[a-z0-9.]+$/\1/'
            grep -oE 'hatchling==[0-9.]+' pyproject.toml
        } | LC_ALL=C sort -f
    } > "$scratch/constraints.txt"
    mv "$scratch/constraints.txt" constraints.txt
