"""Write the descriptors of the embedded suite's classes, `adaptkit/mini/descriptors.json`.

    npm pack emojibase-data@17.0.0
    python -m benchmarks.mini_descriptors emojibase-data-17.0.0.tgz

Emoji get the keywords of emojibase-data (MIT License), which Unicode's annotations are part of; the words of a name are
left out of its keywords. The other classes were described by hand, in `mini_descriptors_by_hand.txt`.
"""

import argparse
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from adaptkit.texts.classify_by_description.config import EMBEDDED
from adaptkit.texts.descriptions import Descriptions, Descriptor
from datasets_fewshot import load_dataset
from datasets_fewshot.mini.suite import MINI_DATASETS

BY_HAND = Path(__file__).parent / "mini_descriptors_by_hand.txt"
HAND, KEYWORDS = "by hand", "keywords of emojibase-data 17.0.0, MIT License"


def by_hand() -> dict[str, tuple[str, ...]]:
    """Class name -> descriptors, as `mini_descriptors_by_hand.txt` has them."""
    lines = [line.partition(": ") for line in BY_HAND.read_text(encoding="utf-8").splitlines() if line]
    return {name: tuple(said.split("; ")) for name, _, said in lines}


def keywords(archive: Path) -> dict[str, tuple[str, ...]]:
    """Name of an emoji -> its keywords, without those that its name has already."""
    with tarfile.open(archive) as content:
        file = content.extractfile("package/en/data.json")
        assert file is not None
        entries = json.load(file)
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name = str(entry["label"]).lower()
        tags = [tag.lower() for tag in entry.get("tags", ()) if tag.lower() not in name and tag.isascii()]
        found[name] = tuple(dict.fromkeys(tags))
    return found


def described(hand: Mapping[str, tuple[str, ...]], tags: Mapping[str, tuple[str, ...]]) -> Descriptions:
    """Descriptions of every class of the suite; where both say something, what is written by hand."""
    classes: dict[str, tuple[Descriptor, ...]] = {}
    sources: dict[str, str] = {}
    for dataset in MINI_DATASETS:
        for name in load_dataset(dataset).classnames:
            said = hand.get(name) or tags.get(name.lower())
            if said:
                classes[name] = tuple(Descriptor(text) for text in said)
                sources[name] = HAND if name in hand else KEYWORDS
    return Descriptions(classes, sources)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path, help="emojibase-data-17.0.0.tgz")
    made = described(by_hand(), keywords(parser.parse_args().archive))
    # One line a class: the file is read by people, too.
    rows = [
        f"{json.dumps(name, ensure_ascii=False)}: "
        + json.dumps({"descriptors": [one.text for one in own], "source": made.sources[name]}, ensure_ascii=False)
        for name, own in made.classes.items()
    ]
    EMBEDDED.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    missing = [name for dataset in MINI_DATASETS for name in made.report(load_dataset(dataset).classnames).missing]
    print(f"{len(made.classes)} classes described; {len(missing)} not: {', '.join(missing)}")


if __name__ == "__main__":
    main()
