"""What is imported is declared, and what is declared is pinned."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture.imports import PACKAGES, Module, read_modules

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")
PROJECT, CLIENT = (tomllib.loads(path.read_text())["project"] for path in DISTRIBUTIONS)
# `compression` is of Python 3.14; before, a backport stands in for it.
STDLIB = {*sys.stdlib_module_names, "compression"}
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {canonical(match[0]) for match in found if match is not None}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonical(name): version for name, version in pinned}


# What imports more than the server needs, and says so when it is missing.
EXTRA_OF = {
    "examples": "demo",
    "compute.simulation": "simulate",
    "backend.simulation.drawing": "simulate",
    "backend.simulation.tables": "simulate",
}


def declared_for(module: Module) -> set[str]:
    if module.within("starling_client"):
        return names(CLIENT["dependencies"])
    declared = names(PROJECT["dependencies"])
    for package, extra in EXTRA_OF.items():
        if module.within(package):
            declared |= names(EXTRAS[extra])
    return declared


@pytest.mark.parametrize("package", PACKAGES)
def test_every_imported_distribution_is_declared(package: str) -> None:
    distributions = packages_distributions()
    undeclared = {
        imported
        for module in read_modules(ROOT)
        if module.within(package)
        for name, _ in module.imports()
        if (imported := name.split(".")[0]) not in {*STDLIB, *PACKAGES}
        and not declared_for(module) & {canonical(name) for name in distributions.get(imported, [])}
    }
    assert undeclared == set()


def test_every_declared_distribution_is_pinned() -> None:
    declared = names(
        [
            *PROJECT["dependencies"],
            *CLIENT["dependencies"],
            *(name for extra in EXTRAS.values() for name in extra),
        ]
    )
    assert declared - pins().keys() == set()


def test_no_pin_names_a_build_of_one_machine() -> None:
    assert {name: version for name, version in pins().items() if "+" in version} == {}


@pytest.mark.parametrize("path", DISTRIBUTIONS, ids=["server", "client"])
def test_the_build_backend_is_pinned_alike_everywhere(path: Path) -> None:
    build = tomllib.loads(path.read_text())["build-system"]["requires"]
    assert build == [f"hatchling=={pins()['hatchling']}"]


def test_server_and_client_have_one_version() -> None:
    assert PROJECT["version"] == CLIENT["version"]
