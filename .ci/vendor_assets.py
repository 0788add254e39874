"""Refreshes frontend_static/vendor from npm, exactly as its manifest vendor.json pins it.

    python .ci/vendor_assets.py            # fetch the pinned versions again; fails on other bytes
    python .ci/vendor_assets.py --update   # after a version in the manifest was changed: pin anew

The registry is whatever npm is set up to use. A file may have replacements: addresses that would
make a browser call a third party or ask for what is not here are taken out, since the pages must
work with no other network; and modules import each other by path, since there is no build step.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).resolve().parent.parent / "frontend_static" / "vendor"
MANIFEST = VENDOR / "vendor.json"


class Mismatch(Exception):
    """npm gave other bytes than the manifest pins."""


def fetch_package(name: str, version: str, folder: Path) -> tuple[Path, str]:
    """The package's tarball in `folder`, and its npm integrity string."""
    packed = subprocess.run(  # noqa: S603 - name and version come from the manifest in this tree
        ["npm", "pack", "--json", "--pack-destination", str(folder), f"{name}@{version}"],  # noqa: S607
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = json.loads(packed.stdout)[0]
    return folder / answer["filename"], answer["integrity"]


def read_member(tarball: Path, member: str) -> bytes:
    with tarfile.open(tarball) as archive:
        found = archive.extractfile(f"package/{member}")
        if found is None:
            raise Mismatch(f"{tarball.name} has no file {member}")
        return found.read()


def replaced(content: bytes, replacements: dict[str, str]) -> bytes:
    """The content with each text replaced; one that is not there is an error."""
    for old, new in replacements.items():
        if old.encode() not in content:
            raise Mismatch(f"{old!r} is not in the file any more: look at what replaced it")
        content = content.replace(old.encode(), new.encode())
    return content


def refresh(package: dict[str, Any], folder: Path, *, update: bool) -> None:
    """Write one package's files; with `update` also pin what came into `package`."""
    name, version = package["name"], package["version"]
    tarball, integrity = fetch_package(name, version, folder)
    if not update and integrity != package["npm_integrity"]:
        raise Mismatch(f"{name}@{version}: integrity is {integrity}")
    package["npm_integrity"] = integrity
    for file in package["files"]:
        content = replaced(read_member(tarball, file["from"]), file.get("replace", {}))
        digest = hashlib.sha256(content).hexdigest()
        if not update and digest != file["sha256"]:
            raise Mismatch(f"{file['path']}: sha256 is {digest}")
        file["sha256"] = digest
        target = VENDOR / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        sys.stdout.write(f"{name}@{version}  {file['path']}  {len(content):,} bytes\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="pin what npm gives")
    update = parser.parse_args().update
    manifest = json.loads(MANIFEST.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for package in manifest["packages"]:
            refresh(package, Path(folder), update=update)
    if update:
        MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (Mismatch, subprocess.CalledProcessError) as error:
        sys.exit(f"vendor_assets: {error}")
