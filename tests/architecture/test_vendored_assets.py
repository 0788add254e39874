"""Vendored front-end assets are the bytes that their manifests pin, and call nobody."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# What is served, and what only the tests of the console use.
VENDOR = REPOSITORY / "frontend_static" / "vendor"
FOLDERS = (VENDOR, REPOSITORY / "tests" / "console" / "vendor")


def packages_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "vendor.json").read_text())["packages"])


def files_of(folder: Path) -> dict[Path, dict[str, Any]]:
    return {folder / file["path"]: file for one in packages_of(folder) for file in one["files"]}


FILES = {path: file for folder in FOLDERS for path, file in files_of(folder).items()}
PACKAGES = [package for folder in FOLDERS for package in packages_of(folder)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_vendored_file_has_the_pinned_checksum(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FILES[path]["sha256"]


@pytest.mark.parametrize("folder", FOLDERS, ids=["served", "for-tests"])
def test_every_vendored_file_is_in_the_manifest(folder: Path) -> None:
    present = {path for path in folder.rglob("*") if path.is_file()}
    assert present == {*files_of(folder), folder / "vendor.json"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_vendored_package_ships_its_licence(package: dict[str, Any]) -> None:
    assert package["license"]
    assert any(Path(file["path"]).name == "LICENSE" for file in package["files"])


@pytest.mark.parametrize(
    "address", ["https://cdn.redoc.ly", "otel.cloud.redocly.com", "fonts.googleapis.com"]
)
def test_no_served_script_would_call_a_third_party(address: str) -> None:
    scripts = [path for path in files_of(VENDOR) if path.suffix in {".js", ".css"}]
    assert scripts
    assert [path.name for path in scripts if address.encode() in path.read_bytes()] == []
