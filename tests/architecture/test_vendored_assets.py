"""Vendored front-end assets are the bytes that their manifest pins, and call nobody."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "frontend_static" / "vendor"
PACKAGES: list[dict[str, Any]] = json.loads((VENDOR / "vendor.json").read_text())["packages"]
FILES: list[dict[str, Any]] = [file for package in PACKAGES for file in package["files"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["path"])
def test_vendored_file_has_the_pinned_checksum(file: dict[str, Any]) -> None:
    assert hashlib.sha256((VENDOR / file["path"]).read_bytes()).hexdigest() == file["sha256"]


def test_every_vendored_file_is_in_the_manifest() -> None:
    present = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert present == {file["path"] for file in FILES} | {"vendor.json"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_vendored_package_ships_its_licence(package: dict[str, Any]) -> None:
    assert package["license"]
    assert any(Path(file["path"]).name == "LICENSE" for file in package["files"])


@pytest.mark.parametrize(
    "address", ["https://cdn.redoc.ly", "otel.cloud.redocly.com", "fonts.googleapis.com"]
)
def test_no_vendored_script_would_call_a_third_party(address: str) -> None:
    scripts = [VENDOR / file["path"] for file in FILES if file["path"].endswith((".js", ".css"))]
    assert scripts
    assert [path.name for path in scripts if address.encode() in path.read_bytes()] == []
