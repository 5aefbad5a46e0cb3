"""Read webdataset shards of images and captions in place; `streaming` reads those that are too many for that.

A shard is a .tar file in which key.jpg and key.txt, or key.json, make a sample. Shards may lie in train/, val/, test/.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from datasets_fewshot.images.archives import is_whole, list_members, read_bytes
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.found import Part
from datasets_fewshot.own.shards import key_and_suffix, list_shards, notes_of_cut
from datasets_fewshot.pairs.listed import Listed, Source
from datasets_fewshot.pairs.sample_texts import sample_captions
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_relative


def read_pair_shards(path: Path) -> Source:
    """Read the captions of all samples; images stay where they are. Shards that cannot be read are a counted note.

    Raises:
        SplitError: if no shard can be read, none holds an image, or a member's path climbs out of its shard.
        FileError: if a sample's text or facts are of another kind.
    """
    root = path if path.is_dir() else path.parent
    rows: list[Listed] = []
    broken: list[str] = []
    cut: list[str] = []
    shards = list(list_shards(path))
    for shard, part in shards:
        try:
            rows += _rows(root, shard, part)
            cut += [] if is_whole(root / shard) else [shard]
        except OSError as error:
            broken.append(f"{shard} ({error})")
    if broken and len(broken) == len(shards):
        raise SplitError(f"{path}: none of its {len(shards)} shards can be read: {broken[0]}")
    if not rows:
        raise SplitError(f"{path}: the shards hold no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    notes = []
    if broken:
        shown = ", ".join(broken[:NAMES_SHOWN])
        notes.append(f"{len(broken)} of {len(shards)} shards cannot be read and were left out: {shown}")
    notes += notes_of_cut(cut, len(shards))
    return Source(path.resolve().stem, root, tuple(rows), tuple(notes))


def _rows(root: Path, shard: str, part: Part | None) -> list[Listed]:
    samples: dict[str, dict[str, str]] = defaultdict(dict)  # key -> ending -> member
    for member in list_members(root / shard):
        key, suffix = key_and_suffix(member)
        if not member.rpartition("/")[2].startswith("."):
            samples[key][suffix[1:]] = member
    return list(_listed(root / shard, shard, samples, part))


def _listed(place: Path, shard: str, samples: dict[str, dict[str, str]], part: Part | None) -> Iterator[Listed]:
    for key, members in samples.items():
        image = next((member for ending, member in members.items() if f".{ending}" in IMAGE_SUFFIXES), None)
        if image is None:
            continue
        check_relative(image, f"shard {shard}")
        captions, group = sample_captions(members, partial(_read, place, members), place / key)
        yield Listed(f"{shard}/{image}", captions, f"shard {shard}: sample {key}", group, part)


def _read(place: Path, members: dict[str, str], ending: str) -> bytes:
    return read_bytes(place / members[ending])
