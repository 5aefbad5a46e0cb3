"""Assemble the embedded data sets beside this package: images, split files, suite.json and SHA256SUMS.

    python -m datasets_fewshot.mini.recipe.assemble --work WORK

Run `fetch`, `rasterise` and `pairs` first, and `names` too where classes change. This step took 45 s on 2 CPU cores
that did other work as well.
"""

import argparse
import hashlib
import json
from pathlib import Path

from .clipart import clipart_suite
from .emoji_suites import emoji_suites
from .fashion import fashion_suite
from .icon_suite import icon_suite
from .packing import write_archive, write_rows
from .sources import source

HERE = Path(__file__).parent.parent
LISTS = ("splits/*.json", "suite.json", "names.json", "pairs.json", "pair_tests.jsonl")
SHIPPED = ("images/*.zip", *LISTS, "NOTICE", "licenses/*.txt")


def checksums(folder: Path) -> str:
    """The shipped files in the format of `sha256sum`, sorted by path."""
    paths = sorted(path for pattern in SHIPPED for path in folder.glob(pattern))
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in paths
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that the steps before filled")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; by default the package's own data")
    options = parser.parse_args()
    emoji, emoji_members = emoji_suites(options.work)
    clipart, clipart_members = clipart_suite(options.work)
    fashion, fashion_members = fashion_suite(options.work)
    icons, icon_members = icon_suite(options.work)
    suites = [*emoji, clipart, icons, fashion]
    archives = {
        emoji[0].archive: emoji_members,
        clipart.archive: clipart_members,
        icons.archive: icon_members,
        fashion.archive: fashion_members,
    }
    for name, members in archives.items():
        write_archive(options.out / "images" / name, members)
    for suite in suites:
        write_rows(options.out / "splits" / f"{suite.name}.json", suite)
    table = {suite.name: suite.facts | {"sources": [source(key).label for key in suite.sources],
                                        "licences": sorted({source(key).licence for key in suite.sources})}
             for suite in suites}  # fmt: skip
    (options.out / "suite.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (options.out / "SHA256SUMS").write_text(checksums(options.out))
    for name, facts in table.items():
        print(name, {key: facts[key] for key in ("classes", "train", "val", "test")})


if __name__ == "__main__":
    main()
