"""Refreshes what is vendored from npm, exactly as the manifests vendor.json pin it.

    python .ci/vendor_assets.py            # fetch the pinned versions again; fails on other bytes
    python .ci/vendor_assets.py --update   # after a version in a manifest was changed: pin anew

`frontend_static/vendor` is served, `tests/console/vendor` is only for the tests of the console.
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

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = (REPOSITORY / "frontend_static" / "vendor", REPOSITORY / "tests" / "console" / "vendor")


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


def refresh(package: dict[str, Any], vendor: Path, *, update: bool) -> None:
    """Write one package's files to `vendor`; with `update` also pin what came into `package`."""
    with tempfile.TemporaryDirectory() as folder:
        tarball, integrity = fetch_package(package["name"], package["version"], Path(folder))
        write(package, vendor, tarball, integrity, update=update)


def write(
    package: dict[str, Any], vendor: Path, tarball: Path, integrity: str, *, update: bool
) -> None:
    """Write the pinned files of a fetched package."""
    name, version = package["name"], package["version"]
    if not update and integrity != package["npm_integrity"]:
        raise Mismatch(f"{name}@{version}: integrity is {integrity}")
    package["npm_integrity"] = integrity
    for file in package["files"]:
        content = replaced(read_member(tarball, file["from"]), file.get("replace", {}))
        digest = hashlib.sha256(content).hexdigest()
        if not update and digest != file["sha256"]:
            raise Mismatch(f"{file['path']}: sha256 is {digest}")
        file["sha256"] = digest
        target = vendor / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        sys.stdout.write(f"{name}@{version}  {file['path']}  {len(content):,} bytes\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="pin what npm gives")
    update = parser.parse_args().update
    for vendor in FOLDERS:
        manifest_file = vendor / "vendor.json"
        manifest = json.loads(manifest_file.read_text())
        for package in manifest["packages"]:
            refresh(package, vendor, update=update)
        if update:
            manifest_file.write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (Mismatch, subprocess.CalledProcessError) as error:
        sys.exit(f"vendor_assets: {error}")
