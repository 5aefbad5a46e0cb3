"""Read webdataset shards in place: .tar files in which key.jpg and key.cls (or key.json) make a sample."""

import json
from collections.abc import Iterator
from pathlib import Path

from datasets_fewshot.images.archives import list_members, read_bytes
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.found import Found, FoundImage
from datasets_fewshot.splits.validation import SplitError, check_relative

CLASS_MEMBERS = (".cls", ".class", ".label", ".txt")  # in order of preference
JSON_FIELDS = ("class", "classname", "class_name", "label", "cls")


def is_shards(path: Path) -> bool:
    """Whether the path is a .tar file, a .txt list of them, or a folder with .tar files and no subfolders."""
    if path.is_dir():
        return any(path.glob("*.tar")) and not any(inside.is_dir() for inside in path.iterdir())
    return path.suffix.lower() in (".tar", ".txt")


def read_shards(path: Path) -> Found:
    """Read all samples of all shards; a class that is a number stays a number, and classnames.txt can name it.

    Raises:
        SplitError: names the sample with an image and no class, or the shard that cannot be read.
    """
    root = path if path.is_dir() else path.parent
    images = tuple(image for shard in _shard_names(path) for image in _samples(root, shard))
    if not images:
        raise SplitError(f"{path}: the shards hold no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return Found(root, images)


def _shard_names(path: Path) -> list[str]:
    if path.is_dir():
        return sorted(shard.name for shard in path.glob("*.tar"))
    if path.suffix.lower() == ".tar":
        return [path.name]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [check_relative(line.strip(), f"{path}: line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _samples(root: Path, shard: str) -> Iterator[FoundImage]:
    try:
        members = list_members(root / shard)
    except OSError as error:
        raise SplitError(f"shard {str(root / shard)!r} cannot be read ({error})") from error
    known = set(members)
    for member in members:
        key, suffix = _key_and_suffix(member)
        if suffix in IMAGE_SUFFIXES:
            check_relative(member, f"shard {shard}")
            yield FoundImage(f"{shard}/{member}", _class_of(root / shard, key, known))


def _key_and_suffix(member: str) -> tuple[str, str]:
    """Split a member name by webdataset's rule: the key ends at the first dot of the file name."""
    folder, slash, name = member.rpartition("/")
    stem, _, suffix = name.partition(".")
    return folder + slash + stem, f".{suffix.lower()}"


def _class_of(shard: Path, key: str, members: set[str]) -> str:
    for suffix in CLASS_MEMBERS:
        if key + suffix in members:
            return read_bytes(shard / (key + suffix)).decode("utf-8").strip()
    if f"{key}.json" in members:
        content = json.loads(read_bytes(shard / f"{key}.json"))
        for field in JSON_FIELDS:
            if isinstance(content, dict) and field in content:
                return str(content[field])
    raise SplitError(f"shard {shard.name}: sample {key!r} has no class; add {key}.cls, or a class to {key}.json")
