"""Read webdataset shards in place: .tar files in which key.jpg and key.cls (or key.json) make a sample.

Shards may lie in folders train/, val/ and test/, as CLIP_benchmark lays them out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from adaptkit.regular_file import decoded, parse_json, read_text
from datasets_fewshot.images.archives import is_whole, list_members, read_bytes
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage, Part
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_relative

CLASS_MEMBERS = (".cls", ".class", ".label", ".txt")  # in order of preference
JSON_FIELDS = ("class", "classname", "class_name", "label", "cls")
TEMPLATES_FILE = "zeroshot_classification_templates.txt"

Shard = tuple[str, Part | None]  # path relative to the root, and the part of its images


def is_shards(path: Path) -> bool:
    """Whether the path is a .tar file, a .txt list of them, or a folder with .tar files, itself or in its parts."""
    if not path.is_dir():
        return path.suffix.lower() in (".tar", ".txt")
    if any(path.glob("*.tar")):
        return not any(inside.is_dir() for inside in path.iterdir() if not inside.name.startswith("."))
    return any(_shards_of_parts(path))


def read_shards(path: Path) -> Found:
    """Read all samples of all shards; a class that is a number stays a number, and classnames.txt can name it.

    Raises:
        SplitError: names the sample with an image and no class, or the shard that cannot be read.
    """
    root = path if path.is_dir() else path.parent
    shards = list(list_shards(path))
    images = tuple(image for shard, part in shards for image in _samples(root, shard, part))
    if not images:
        raise SplitError(f"{path}: the shards hold no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    notes = notes_of_cut([shard for shard, _ in shards if not is_whole(root / shard)], len(shards))
    if (root / TEMPLATES_FILE).is_file():
        lines = [line for line in read_text(root / TEMPLATES_FILE, "list of templates").splitlines() if line.strip()]
        example = lines[0].replace("{c}", "{}") if lines else "a photo of a {}."
        notes.append(
            f"the {len(lines)} sentences of {TEMPLATES_FILE} are not read; give those that you want, such as "
            f'--template "{example}"'
        )
    return Found(root, images, tuple(notes))


def notes_of_cut(cut: Sequence[str], count: int) -> list[str]:
    """A note on the shards that break off before their end mark, of so many; none if all are whole."""
    if not cut:
        return []
    shown = ", ".join(cut[:NAMES_SHOWN])
    return [f"{len(cut)} of {count} shards break off, and what may follow is missing: {shown}"]


def list_shards(path: Path) -> Iterator[Shard]:
    """The shards of a folder, its parts or a list, relative to the folder, in order."""
    if path.is_dir():
        here: list[Shard] = [(shard.name, None) for shard in sorted(path.glob("*.tar"), key=_with_number)]
        yield from here or _shards_of_parts(path)
    elif path.suffix.lower() == ".tar":
        yield path.name, None
    else:
        yield from ((name, None) for name in _listed_shards(path))


def _listed_shards(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_text(path, "list of shards").splitlines(), start=1):
        name = line.strip()
        if name and not name.lower().endswith(".tar"):
            raise SplitError(
                f"{path}: line {number} is {name[:80]!r}; a .txt lists shards (.tar), and a table of images ends in "
                ".csv or .tsv and has a path and a class per line"
            )
        if name:
            yield check_relative(name, f"{path}: line {number}")


def _shards_of_parts(root: Path) -> Iterator[Shard]:
    for folder in sorted(path for path in root.iterdir() if path.name.lower() in PART_NAMES and path.is_dir()):
        for shard in sorted(folder.glob("*.tar"), key=_with_number):
            yield f"{folder.name}/{shard.name}", PART_NAMES[folder.name.lower()]


def _with_number(shard: Path) -> tuple[int, str]:
    """0.tar, 1.tar, 10.tar come in this order; others by letters."""
    return (int(shard.stem) if shard.stem.isdecimal() else 0, shard.name)


def _samples(root: Path, shard: str, part: Part | None) -> Iterator[FoundImage]:
    try:
        members = list_members(root / shard)
    except OSError as error:
        raise SplitError(f"shard {str(root / shard)!r} cannot be read ({error})") from error
    known = set(members)
    for member in members:
        key, suffix = key_and_suffix(member)
        if suffix in IMAGE_SUFFIXES and not member.rpartition("/")[2].startswith("."):
            check_relative(member, f"shard {shard}")
            yield FoundImage(f"{shard}/{member}", _class_of(root / shard, key, known), part)


def key_and_suffix(member: str) -> tuple[str, str]:
    """Split a member name by webdataset's rule: the key ends at the first dot of the file name."""
    folder, slash, name = member.rpartition("/")
    stem, _, suffix = name.partition(".")
    return folder + slash + stem, f".{suffix.lower()}"


def _class_of(shard: Path, key: str, members: set[str]) -> str:
    for suffix in CLASS_MEMBERS:
        if key + suffix in members:
            place = shard / (key + suffix)
            name = decoded(read_bytes(place), "class of a sample", place).strip()
            if name:
                return name
    if f"{key}.json" in members:
        place = shard / f"{key}.json"
        content = parse_json(decoded(read_bytes(place), "facts of a sample", place), "facts of a sample", place)
        for field in JSON_FIELDS:
            if isinstance(content, dict) and isinstance(content.get(field), str | int):
                return str(content[field])
    raise SplitError(f"shard {shard.name}: sample {key!r} has no class; add {key}.cls, or a class to {key}.json")
