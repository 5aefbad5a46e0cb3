"""Fetch and unpack every source into WORK/raw/<key>/ through the registries' own clients, at exact versions.

    python -m datasets_fewshot.mini.recipe.fetch --work WORK

This step needs `npm` and, on Debian, `apt-get` with a fresh index and `dpkg`. It took 40 s on 2 CPU cores.
"""

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .sources import SOURCES, Source


def fetch(source: Source, raw: Path) -> Path:
    """Unpack one source into raw/<key>/, unless it is there, and return that folder.

    Raises:
        subprocess.CalledProcessError: if the registry's client fails.
    """
    target = raw / source.key
    if target.exists():
        return target
    raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=raw) as scratch:
        unpacked = Path(scratch) / "unpacked"
        if source.kind == "npm":
            unpack_npm(source, Path(scratch), unpacked)
        else:
            unpack_debian(source, Path(scratch), unpacked)
        shutil.move(unpacked, target)
    return target


def unpack_npm(source: Source, scratch: Path, unpacked: Path) -> None:
    """Download an npm package with `npm pack` and unpack its `package/` folder."""
    subprocess.run(["npm", "pack", "--silent", source.label], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    (scratch / "package").rename(unpacked)


def unpack_debian(source: Source, scratch: Path, unpacked: Path) -> None:
    """Download a Debian package with `apt-get download` and unpack its files."""
    scratch.chmod(0o755)  # apt's own user writes into this folder
    subprocess.run(["apt-get", "download", "-qq", f"{source.package}={source.version}"], cwd=scratch, check=True)
    (archive,) = scratch.glob("*.deb")
    subprocess.run(["dpkg", "-x", archive, unpacked], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for downloads and intermediate results")
    work = parser.parse_args().work
    for source in SOURCES:
        print(source.label, "->", fetch(source, work / "raw"))


if __name__ == "__main__":
    main()
