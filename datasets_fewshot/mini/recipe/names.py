"""Write names.json: what the classes of the emoji data sets are called in other languages.

    python -m datasets_fewshot.mini.recipe.names --work WORK

Run `fetch` first; the split files have to be there. emojibase has the names from Unicode's CLDR. An emoji that a
language has no name for is left out, so that a language may have names for some of the classes alone.
"""

import argparse
import json
import re
import unicodedata
from pathlib import Path

from .emoji import plain_hexcode
from .emoji_suites import GROUPS
from .sources import NAMES

HERE = Path(__file__).parent.parent
LANGUAGES = ("bn", "de", "es", "fi", "fr", "hi", "ja", "ko", "ru", "th", "vi", "zh")  # seven scripts


def plain_label(label: str) -> str:
    """A name on one line without colons, commas, quotation marks and brackets, in lower case, as the English ones."""
    label = re.sub(r"[“”„«»「」()（）]", "", unicodedata.normalize("NFC", label))
    return re.sub(r"\s+", " ", re.sub(r"[:,：，、;]", " ", label)).strip().lower()


def labels_of(folder: Path, language: str) -> dict[str, str]:
    """The names of all emoji in a language of an unpacked emojibase-data package, by hexcode."""
    entries = json.loads((folder / language / "data.json").read_text(encoding="utf-8"))
    return {plain_hexcode(entry["hexcode"]): plain_label(entry["label"]) for entry in entries if entry.get("label")}


def classes_of(split: Path) -> dict[int, str]:
    """Hexcodes of the classes of an emoji data set by label."""
    rows = [row for part in json.loads(split.read_text(encoding="utf-8")).values() for row in part]
    return {label: plain_hexcode(Path(path).stem) for path, label, _ in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that `fetch` filled")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; by default the package's own data")
    options = parser.parse_args()
    by_language = {language: labels_of(options.work / "raw" / NAMES.key, language) for language in LANGUAGES}
    table: dict[str, dict[str, dict[int, str]]] = {}
    for name in GROUPS:
        hexcodes = classes_of(HERE / "splits" / f"{name}.json")
        table[name] = {
            language: {label: names[code] for label, code in sorted(hexcodes.items()) if names.get(code)}
            for language, names in by_language.items()
        }
    text = json.dumps(table, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n"
    (options.out / "names.json").write_text(text, encoding="utf-8")
    for name, languages in table.items():
        print(name, {language: len(names) for language, names in languages.items()})


if __name__ == "__main__":
    main()
