"""A gallery that several workers build: each encodes parts of the entries, and the parts become one index in order.

    .INDEX.parts/
        plan.json           what is built, so that another command leaves the parts alone
        part_00000/         rows.npy (n, D) float16 and names.json; it has both when it is done

A part is a whole number of batches, so the index is the one that a single process builds, to the last bit. What was
encoded stays when a worker or the command is stopped, and the same command goes on from there.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adaptkit.artefacts.atomic_file import replacing, write_text
from adaptkit.regular_file import read_json, user_path
from adaptkit.vectors.folder import SHARD_ROWS
from trainers.launchers import Job, Launcher, LaunchError, Place, Tell
from trainers.launchers.base import Perform, one_by_one
from trainers.retrieval.gallery import BATCH, LAYOUT, Built, encoded_entries, write_gallery
from trainers.retrieval.sources import Entries
from trainers.retrieval.towers import PairTowers

ROWS, NAMES, PLAN = "rows.npy", "names.json", "plan.json"
BATCHES_PER_PART = 64
MAX_NAMES_BYTES = 2**30


@dataclass(frozen=True)
class Parts:
    """How entries are encoded in parts; picklable, because each worker opens it in its own process.

    Args:
        read: the entries, the same in every worker.
        make: the model on a device, the same in every worker.
        count: of entries.
        folder: where parts are written, which all workers see.
        skip_bad: leave out images that cannot be read.
    """

    read: Callable[[], Entries]
    make: Callable[[str], PairTowers]
    count: int
    folder: Path
    skip_bad: bool = False
    batch_size: int = BATCH
    batches_per_part: int = BATCHES_PER_PART
    command: str = field(default_factory=lambda: uuid.uuid4().hex)  # of this call; later ones try failures again

    @property
    def rows(self) -> int:
        """Entries of a part."""
        return self.batch_size * self.batches_per_part

    @property
    def jobs(self) -> Sequence[Job]:
        """A job for each part."""
        parts = -(-self.count // self.rows)
        folders = [self.folder / f"part_{number:05}" for number in range(parts)]
        return [Job(folder.name, folder, "parts", folder / NAMES) for folder in folders]

    def open(self, place: Place) -> Perform:
        """Load the model in a worker."""
        towers, entries = self.make(place.device), self.read()

        def encode(job: Job, tell: Tell) -> str | None:
            start = int(job.key.removeprefix("part_")) * self.rows
            some = Entries(entries.kind, entries.root, list(islice(iter(entries.names), start, start + self.rows)))
            try:
                self._encode(job.folder, some, towers)
            except ValueError as error:
                return str(error)
            return None

        return one_by_one(encode)

    def _encode(self, folder: Path, entries: Entries, towers: PairTowers) -> None:
        unreadable: list[str] = []
        names: list[str] = []
        rows = [torch.zeros(0, towers.backbone.embed_dim, dtype=torch.half)]
        for some, features in encoded_entries(entries, towers, self.batch_size, unreadable if self.skip_bad else None):
            names += some
            rows.append(features.half().cpu())
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / ROWS) as temporary, temporary.open("wb") as file:
            np.save(file, torch.cat(rows).numpy())
        write_text(folder / NAMES, json.dumps({"names": names, "unreadable": unreadable}) + "\n")


def build_together(
    parts: Parts, launcher: Launcher, folder: str | Path, *, device: str = "cpu", shard_rows: int = SHARD_ROWS
) -> Built:
    """Build a gallery with the workers of a launcher; the folder appears when all of it is written.

    Args:
        parts: what is encoded; its folder is `parts_folder(folder)`.
        device: where this process loads the model, to say which one built the gallery.
        shard_rows: entries per file of rows.

    Raises:
        FileExistsError: if the folder is there.
        ValueError: if there is nothing to encode, an image cannot be read, or parts of another build are in the way.
        LaunchError: if parts are left because workers failed or died.
    """
    place = user_path(folder, LAYOUT.what)
    if place.exists():
        raise FileExistsError(f"{place} is there already; give a folder that is not, or remove it first")
    if not parts.count:
        raise ValueError(f"there is nothing to put into the {LAYOUT.what}; give one entry at least")
    entries, towers = parts.read(), parts.make(device)
    _check_plan(parts, entries, towers)
    launcher.launch(parts, lambda event: None)
    _check_failures(parts)
    unreadable: list[str] = []
    gallery = write_gallery(entries, towers, place, _encoded(parts, unreadable), shard_rows)
    shutil.rmtree(parts.folder)
    return Built(gallery, tuple(unreadable))


def parts_folder(folder: str | Path) -> Path:
    """Where the parts of a gallery are written while it is built."""
    place = user_path(folder, LAYOUT.what)
    return place.parent / f".{place.name}.parts"


def _check_plan(parts: Parts, entries: Entries, towers: PairTowers) -> None:
    """Begin, or go on with the parts of the same build.

    Raises:
        ValueError: if the parts are of another one.
    """
    digest = hashlib.sha256()
    for name in entries.names:
        digest.update(name.encode() + b"\n")
    facts = [digest.hexdigest(), entries.kind, entries.root, str(towers.made_by()), parts.rows, parts.skip_bad]
    plan, path = json.dumps(facts), parts.folder / PLAN
    if parts.folder.exists():
        if not path.is_file() or path.read_text(encoding="utf-8") != plan:
            raise ValueError(
                f"{parts.folder} has parts of another build; remove it, or give another place for the {LAYOUT.what}"
            )
        return
    parts.folder.mkdir(parents=True)
    write_text(path, plan)


def _check_failures(parts: Parts) -> None:
    failed = [error for job in parts.jobs if (error := job.failure(parts.command)) is not None]
    if failed:
        raise ValueError(f"{failed[0]}; the same command goes on from the parts that are done")
    if any(not job.is_done() for job in parts.jobs):
        raise LaunchError("some parts were not encoded; the same command goes on from those that are done")


def _encoded(parts: Parts, unreadable: list[str]) -> Iterator[tuple[list[str], Tensor]]:
    """Names and features of every part, in order."""
    for job in parts.jobs:
        content = read_json(job.result, "part of an index", MAX_NAMES_BYTES)
        assert isinstance(content, dict)
        unreadable += content["unreadable"]
        if content["names"]:
            yield content["names"], torch.from_numpy(np.load(job.folder / ROWS, allow_pickle=False))
