"""A check of an installation: versions, devices, plugins, caches, and the packages of optional verbs."""

import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from adaptkit.contract.plugins import load_plugins
from adaptkit.own_packages import PACKAGES, ROOT
from datasets_fewshot.store.cache_folder import cache_folder

DISTRIBUTION = "adaptkit-clip"
AGAIN = f"install {DISTRIBUTION} anew: pip install . from its folder"
# Extras of the distribution and their purposes.
EXTRAS = {
    "export": "`adaptkit export --format onnx`",
    "hf": "backbones in memory that come from transformers",
    "ray": "`adaptkit bench --launcher ray`",
    "report": "the pictures of `adaptkit report --html`",
    "serve": "`adaptkit serve`",
    "slurm": "`adaptkit bench --launcher slurm`",
    "trackers": "`adaptkit bench --log`",
}


@dataclass(frozen=True)
class Findings:
    """Findings of a check."""

    sections: dict[str, list[str]]  # Heading -> lines.
    problems: list[str]  # Problems to put right.


def checkup() -> Findings:
    """Examine the installation of this process; nothing is changed or fetched."""
    needed = _requirements()
    always = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    problems = [f"{lack}; {AGAIN}" for lack in _lacks(always)]
    if not needed:
        problems.append(f"{DISTRIBUTION} is not installed, only its files are here; {AGAIN}")
    plugins = load_plugins()
    problems += [plugin.complaint() for plugin in plugins if plugin.error is not None]
    sections = {
        "versions": [f"python {platform.python_version()}", *(_version(one.name) for one in always)],
        "devices": _devices(),
        "plugins": [f"{one.name} of {one.distribution}: {one.error or 'imported'}" for one in plugins] or ["none"],
        "caches": _caches(),
        "optional": [_extra(extra, purpose, needed) for extra, purpose in EXTRAS.items()],
        "packages": [_place(name) for name in ("adaptkit", *PACKAGES)],
    }
    return Findings(sections, problems)


def _requirements() -> list[Requirement]:
    """Requirements that the installed distribution declares; none if only its files are there."""
    try:
        return [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} is missing"


def _lacks(needed: Iterable[Requirement]) -> list[str]:
    """Lines on requirements that are missing or have a wrong version."""
    lacks = []
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            lacks.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(version, prereleases=True):
            lacks.append(f"{one.name} is {version}, and {one.specifier} is needed")
    return lacks


def _extra(extra: str, purpose: str, needed: Iterable[Requirement]) -> str:
    own = [one for one in needed if one.marker is not None and one.marker.evaluate({"extra": extra})]
    lacks = _lacks(one for one in own if not one.marker.evaluate({"extra": ""}))  # type: ignore[union-attr]
    if not lacks:
        return f"{purpose}: ready"
    return f"{purpose}: {', '.join(lacks)}; pip install 'adaptkit-clip[{extra}]'"


def _devices() -> list[str]:
    lines = [f"cpu: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index}: {facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    return lines


def _caches() -> list[str]:
    folder = cache_folder()
    if not folder.is_dir():
        return [f"{folder}: nothing stored yet"]
    lines = []
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [path for path in part.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        lines.append(f"{part}: {len(files)} files, {size:.1f} MiB")
    return lines or [f"{folder}: nothing stored yet"]


def _place(name: str) -> str:
    """A line on the folder of a package of ours, and on a folder that hides it, seen from the present folder."""
    hidden_by = next(
        (place for place in map(Path, sys.path) if (place / name).is_dir() and place.resolve() != ROOT), None
    )
    return f"{name}: {ROOT / name}" + (f", hidden by {hidden_by / name}" if hidden_by else "")
