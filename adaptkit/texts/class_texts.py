"""What a person says of classes, in one file: names, descriptors and sentences, as YAML, JSON or a table.

    ankle_boot:
      name: ankle boot                          # what prompts say in the place of the class's own name
      descriptors: [a tall shaft, laces]        # each becomes "ankle boot, which has laces", inside of every template
      sentences: [a boot seen from its side.]   # whole sentences, as they are; a {} in one stands for the name

A text in the place of these fields is a name, a list is descriptors. A table has a column `class` and one or more of
`name`, `descriptor` and `sentence`, and as many rows of a class as it needs. Sentences take the place of the templates;
descriptors stand beside them, because phrases alone lead away from what a name says.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.classes.class_set import ClassSet
from adaptkit.layers.image_texts import fit_text
from adaptkit.plain_yaml import parse_yaml
from adaptkit.regular_file import FileError, parsed, read_text, shortened, user_path
from adaptkit.texts.descriptions import plain
from adaptkit.texts.phrases import PhraseStyle

WHAT = "file that describes classes"
MAX_BYTES = 64 * 2**20
FIELDS = ("name", "descriptors", "sentences")
COLUMNS = {"descriptor": "descriptors", "sentence": "sentences"}  # of a table, where they may also be called as fields
SEPARATORS = (",", ";", "\t")
STYLE = PhraseStyle()


@dataclass(frozen=True)
class ClassText:
    """What is said of one class; nothing of it need be."""

    classname: str
    name: str = ""  # what prompts say in the place of the class's name
    descriptors: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    def prompts(self, spoken: str, templates: Sequence[str]) -> tuple[str, ...]:
        """The texts that CLIP reads of the class, which prompts call `spoken`."""
        phrases = [STYLE.phrase(spoken, descriptor) for descriptor in self.descriptors]
        said = self.sentences or templates
        around = [template.replace("{}", phrase) for phrase in phrases for template in templates]
        return (*(text.replace("{}", spoken) for text in said), *around)


@dataclass(frozen=True)
class ClassTexts:
    """What is said of classes, in the order of the file."""

    classes: tuple[ClassText, ...]
    place: str = field(default="", compare=False)  # where they are from, for errors

    def of(self, classname: str) -> ClassText | None:
        """What is said of a class, whatever its letter case, underscores and spaces are; None for nothing."""
        return self._by_name.get(plain(classname))

    @cached_property
    def _by_name(self) -> dict[str, ClassText]:
        return {plain(one.classname): one for one in self.classes}

    def check(self, classnames: Sequence[str]) -> None:
        """Check that every class of the file is one of these.

        Raises:
            ValueError: names the first that is none.
        """
        known = {plain(name) for name in classnames}
        unknown = [one.classname for one in self.classes if plain(one.classname) not in known]
        if unknown:
            raise ValueError(
                f"{self.place} describes {len(unknown)} classes that the data do not have, such as {unknown[0]!r}; the "
                f"classes are {shortened(', '.join(classnames), 200)}"
            )

    def left_out(self, classnames: Sequence[str]) -> tuple[str, ...]:
        """The classes that nothing is said of, which are read by their templates."""
        return tuple(name for name in classnames if self.of(name) is None)

    def described(
        self, classes: ClassSet, *, takes_sentences: bool = True, tokenizer: Tokenizer | None = None
    ) -> ClassSet:
        """The classes as the file has them read; their names, which are the answers, stay.

        Args:
            takes_sentences: False leaves all but the names out, for methods whose prompts are not hand-written.
            tokenizer: cuts texts that are too long for the text tower; None leaves them as they are.

        Raises:
            ValueError: if a name is given to two classes, or is the name of another.
        """
        said = [self.of(name) or ClassText(name) for name in classes.classnames]
        spoken = tuple(one.name or name for one, name in zip(said, classes.readable, strict=True))
        if any(one.name for one in said):
            self._check_spoken(said, spoken)
            classes = replace(classes, spoken=spoken)
        if not takes_sentences or not any(one.descriptors or one.sentences for one in said):
            return classes
        sentences = [one.prompts(name, classes.templates) for one, name in zip(said, classes.readable, strict=True)]
        if tokenizer is not None:
            sentences = [tuple(dict.fromkeys(fit_text(text, tokenizer) for text in own)) for own in sentences]
        return replace(classes, sentences=tuple(sentences))

    def _check_spoken(self, said: Sequence[ClassText], spoken: Sequence[str]) -> None:
        called: dict[str, ClassText] = {}
        for one, name in zip(said, spoken, strict=True):
            other = called.setdefault(plain(name), one)
            if other is not one and (one.name or other.name):
                raise ValueError(
                    f"{self.place} has prompts call both {other.classname!r} and {one.classname!r} {name!r}, so that "
                    "nothing tells them apart; give them names that differ"
                )


def read_class_texts(path: str | Path) -> ClassTexts:
    """What a file says of classes; the forms are those of this module's text.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty or has another form; the message names the class, or the line of a table.

    Example:
        ```python
        from pathlib import Path
        from adaptkit.texts.class_texts import read_class_texts

        Path("mine.yaml").write_text("{corgi: [short legs], husky: {name: sled dog}}")
        texts = read_class_texts("mine.yaml")
        print(texts.described(adaptkit.ClassSet(("corgi", "husky"))).texts)
        ```
    """
    place = user_path(path, WHAT)
    text = read_text(path, WHAT, MAX_BYTES)
    if not text.strip():
        raise ValueError(f"{path} is empty; write a line for a class, such as `corgi: [short legs, a white chest]`")
    if place.suffix.lower() in (".csv", ".tsv"):
        return _checked(_from_table(text, str(path)), str(path))
    if place.suffix.lower() == ".json":
        content = parsed(_json, text, "JSON", WHAT, path)
    else:
        content = parse_yaml(text, WHAT, path)
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a mapping of class: name, class: [descriptors], or "
            f"class: {{{', '.join(FIELDS)}}}"
        )
    return _checked([_from_entry(name, entry, str(path)) for name, entry in content.items()], str(path))


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(entries: list[tuple[str, object]]) -> dict[str, object]:
    """The entries of a JSON object, of which Python's reader would keep the last of one name in silence."""
    twice = [name for name, count in Counter(name for name, _ in entries).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice")
    return dict(entries)


def texts_of(classes: ClassSet) -> ClassTexts | None:
    """What classes that are read in a way of their own have said of them, so that others may be read alike."""
    if classes.sentences is None and classes.spoken is None:
        return None
    spoken = classes.spoken or ("",) * len(classes)
    sentences = classes.sentences or ((),) * len(classes)
    rows = zip(classes.classnames, spoken, sentences, strict=True)
    return ClassTexts(tuple(ClassText(name, said, sentences=own) for name, said, own in rows), "the adapter")


def _checked(classes: Sequence[ClassText], place: str) -> ClassTexts:
    seen: dict[str, str] = {}
    for one in classes:
        if plain(one.classname) in seen:
            raise ValueError(
                f"{place} describes the class {one.classname!r} twice, also as {seen[plain(one.classname)]!r}; put "
                "what it says into one entry"
            )
        seen[plain(one.classname)] = one.classname
        if not (one.name or one.descriptors or one.sentences):
            raise ValueError(
                f"{place} says nothing of the class {one.classname!r}; give it a name, descriptors or sentences, or "
                "leave it out"
            )
    return ClassTexts(tuple(classes), place)


def _from_entry(given: object, entry: object, place: str) -> ClassText:
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        raise ValueError(f"{place} has the class {given!r}; a class is called by a text, so put its name in quotes")
    name = str(given).strip()
    if isinstance(entry, str):
        entry = {"name": entry}
    if isinstance(entry, list):
        entry = {"descriptors": entry}
    if not isinstance(entry, dict):
        raise ValueError(
            f"{place}: class {name!r} has {shortened(repr(entry), 60)}; expected a name, a list of descriptors, or "
            f"the fields {', '.join(FIELDS)}"
        )
    unknown = [key for key in entry if key not in (*FIELDS, "source")]  # a source is for people, as in descriptors.json
    if unknown:
        raise ValueError(f"{place}: class {name!r} has the field {unknown[0]!r}; the fields are {', '.join(FIELDS)}")
    spoken = entry.get("name", "")
    if not isinstance(spoken, str) or ("name" in entry and not spoken.strip()):
        raise ValueError(f"{place}: class {name!r} has the name {spoken!r}; expected a text")
    descriptors = _texts(_plain_descriptors(entry, name, place), name, "descriptors", place)
    return ClassText(name, spoken.strip(), descriptors, _texts(entry.get("sentences", []), name, "sentences", place))


def _plain_descriptors(entry: Mapping[object, object], name: str, place: str) -> object:
    """Descriptors as texts, without those that are switched off in the form of `adaptkit.texts.descriptions`."""
    given = entry.get("descriptors", [])
    if not isinstance(given, list):
        return given
    kept = []
    for one in given:
        if not isinstance(one, dict) or set(one) - {"text", "weight", "enabled"}:
            kept.append(one)
        elif one.get("weight", 1) != 1:
            raise ValueError(
                f"{place}: class {name!r} has a descriptor of weight {one['weight']!r}; here all weigh alike, so leave "
                "weights out, or take the method classify_by_description"
            )
        elif one.get("enabled", True) is True:
            kept.append(one.get("text"))
    return kept


def _texts(given: object, name: str, what: str, place: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
        raise ValueError(
            f"{place}: class {name!r} has the {what} {shortened(repr(given), 60)}; expected a list of texts"
        )
    return tuple(dict.fromkeys(one.strip() for one in given))


def _from_table(text: str, place: str) -> list[ClassText]:
    header = text.splitlines()[0]
    separator = max(SEPARATORS, key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True))
    except csv.Error as error:
        raise FileError(f"{place} is no table ({error}); save it as CSV again") from None
    columns = [COLUMNS.get(cell.strip().lower(), cell.strip().lower()) for cell in rows[0]]
    unknown = [cell for cell in columns if cell not in ("class", *FIELDS)]
    if unknown or "class" not in columns or len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError(
            f"{place} has the columns {', '.join(map(repr, rows[0]))}; expected class and one or more of name, "
            "descriptor and sentence"
        )
    found: dict[str, dict[str, list[str]]] = {}
    for number, row in enumerate(rows[1:], start=2):
        cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        if not any(cells.values()):
            continue
        if not cells.get("class") or len(row) > len(columns):
            raise ValueError(f"{place}, row {number}: {shortened(repr(row), 60)}; expected {separator.join(columns)}")
        own = found.setdefault(cells["class"], {key: [] for key in FIELDS})
        for key in FIELDS:
            if cells.get(key) and cells[key] not in own[key]:
                own[key].append(cells[key])
        if len(own["name"]) > 1:
            raise ValueError(
                f"{place}, row {number}: the class {cells['class']!r} is called {own['name'][0]!r} and "
                f"{own['name'][1]!r}; give it one name"
            )
    if not found:
        raise ValueError(f"{place} has no row below its columns; write one for a class")
    return [
        ClassText(name, "".join(own["name"]), tuple(own["descriptors"]), tuple(own["sentences"]))
        for name, own in found.items()
    ]
