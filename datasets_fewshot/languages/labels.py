"""What the classes of a data set are called in other languages, and the templates of these languages.

Geigle et al., "Babel-ImageNet: Massively Multilingual Evaluation of Vision-and-Language Representations",
arXiv:2306.08658, has names of some of ImageNet's classes in 298 languages: {LANG: [[class indices], [names]]} in one
JSON file, and {LANG: [templates]} in another. For any data set, a folder of text files says the same:
    labels.<lang>.tsv       a line for each class: its index, counted from 0, a tab, its name or "one; another"
    templates.<lang>.txt    a template in every line, with {} where the name goes; a language may have none
A language's code is read without regard to case, so that DE and de are one language.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from adaptkit.regular_file import FileError, read_json, read_text, said, user_path

CODE = re.compile(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*")
LABELS = re.compile(r"labels\.(?P<code>[^.]+)\.tsv")
TEMPLATES = re.compile(r"templates\.(?P<code>[^.]+)\.txt")
BETWEEN_NAMES = ";"


class LabelsError(FileError):
    """Labels or templates that cannot be used; the message names the file, the language and the place."""


@dataclass(frozen=True)
class LanguageLabels:
    """The names of some classes of a data set in one language.

    Args:
        language: its code, such as "de"; kept in lower case.
        indices: of the named classes among those of the data set, in the order of the file.
        names: of each of them one name, or several, whose embeddings are averaged.
        templates: with one {} each; empty where the language has none.

    Raises:
        LabelsError: if the code is no code, a class is named twice, an index is negative, a name is blank, or a
            template has not one {}.
    """

    language: str
    indices: tuple[int, ...]
    names: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not CODE.fullmatch(self.language):
            raise LabelsError(f"language {self.language!r} is no code; give letters and digits, such as de or zh-hant")
        object.__setattr__(self, "language", self.language.lower())
        if not self.indices:
            raise LabelsError(f"language {self.language} names no class; give one at least, or leave the language out")
        if len(self.indices) != len(self.names):
            raise LabelsError(
                f"language {self.language} has {len(self.indices)} class indices and {len(self.names)} names; give a "
                "name for each index"
            )
        seen: set[int] = set()
        for index, own in zip(self.indices, self.names, strict=True):
            if index < 0:
                raise LabelsError(f"language {self.language} names class {index}; indices are counted from 0")
            if index in seen:
                raise LabelsError(
                    f"language {self.language} names class {index} twice; write its names in one place, as "
                    '"one; another"'
                )
            seen.add(index)
            if not own or not all(name.strip() for name in own):
                raise LabelsError(
                    f"language {self.language} has the name {'; '.join(own)!r} for class {index}; give it in words, or "
                    "leave the class out"
                )
        for template in self.templates:
            check_template(template, self.language)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shared_names(self) -> dict[str, tuple[int, ...]]:
        """Names that two or more classes have, each with the indices of these classes."""
        owners: dict[tuple[str, ...], list[int]] = {}
        for index, own in zip(self.indices, self.names, strict=True):
            owners.setdefault(own, []).append(index)
        return {"; ".join(own): tuple(indices) for own, indices in owners.items() if len(indices) > 1}

    def of_classes(self, indices: Sequence[int]) -> "LanguageLabels":
        """The names of these classes alone, in this order.

        Raises:
            LabelsError: if one of them has no name in this language.
        """
        named = dict(zip(self.indices, self.names, strict=True))
        if missing := [index for index in indices if index not in named]:
            raise LabelsError(f"language {self.language} has no name for class {missing[0]}; add it to its labels")
        return replace(self, indices=tuple(indices), names=tuple(named[index] for index in indices))


class MultilingualLabels(Mapping[str, LanguageLabels]):
    """Labels by language, in the order of the codes, whatever order they were read in.

    Args:
        languages: the labels, one for each language.
        unused_templates: languages that a file had templates for and no labels.

    Raises:
        LabelsError: if there is no language, or two are the same.
    """

    def __init__(self, languages: Sequence[LanguageLabels], unused_templates: Sequence[str] = ()):
        found: dict[str, LanguageLabels] = {}
        for labels in languages:
            if labels.language in found:
                raise LabelsError(f"language {labels.language} is there twice; give its labels once")
            found[labels.language] = labels
        if not found:
            raise LabelsError("there are no labels of any language; give some of one at least")
        self._found = MappingProxyType(dict(sorted(found.items())))
        self.unused_templates = tuple(sorted(unused_templates))

    def __getitem__(self, language: str) -> LanguageLabels:
        return self._found[language.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def without_templates(self) -> tuple[str, ...]:
        """Languages that have no templates of their own."""
        return tuple(code for code, labels in self.items() if not labels.templates)

    def chosen(self, languages: Sequence[str]) -> "MultilingualLabels":
        """Some of the languages.

        Raises:
            LabelsError: if there are no labels of one of them.
        """
        for language in languages:
            if language.lower() not in self:
                raise LabelsError(f"there are no labels of language {language!r}; there are {', '.join(self)}")
        return MultilingualLabels([self[code] for code in dict.fromkeys(map(str.lower, languages))])

    @staticmethod
    def load(place: str | Path, templates: str | Path | None = None) -> "MultilingualLabels":
        """Labels of a folder of text files, or of a JSON file as the paper's.

        Args:
            place: a folder with files labels.<lang>.tsv, or a file such as babel_imagenet.json.
            templates: a JSON file such as nllb_dist13b_prompts.json; a folder may have its own instead.

        Raises:
            FileNotFoundError: if there is nothing.
            LabelsError: if a file cannot be used; the message says which, and what to do.

        Example:
            ```python
            from pathlib import Path
            from datasets_fewshot.languages import MultilingualLabels

            Path("names").mkdir()
            Path("names/labels.de.tsv").write_text("0\\tKrähe\\n2\\tEiche; Eichbaum\\n", encoding="utf-8")
            Path("names/templates.de.txt").write_text("ein Foto von {}.\\n", encoding="utf-8")
            labels = MultilingualLabels.load("names")
            assert labels["de"].names == (("Krähe",), ("Eiche", "Eichbaum"))
            ```
        """
        path = user_path(place, "list of class names")
        if path.is_dir():
            if templates is not None:
                raise LabelsError(
                    f"{said(place)} is a folder, which has its templates in files templates.<lang>.txt; leave "
                    f"{said(templates)} out"
                )
            return _of_folder(path)
        return _of_json(place, templates)


def check_template(template: str, where: str) -> None:
    """Check that a template has one {} and no other brace.

    Raises:
        LabelsError: for any other text.
    """
    if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
        raise LabelsError(
            f"template {template!r} of {where} needs exactly one {{}} where the class name goes, and no other brace"
        )


def _of_folder(folder: Path) -> MultilingualLabels:
    """The files of a folder; other files in it are no concern of ours."""
    labels, templates = (
        {found["code"].lower(): path for path in sorted(folder.iterdir()) if (found := kind.fullmatch(path.name))}
        for kind in (LABELS, TEMPLATES)
    )
    if not labels:
        raise LabelsError(f"{said(folder)} has no file labels.<lang>.tsv; give a line INDEX<TAB>NAME for each class")
    languages = []
    for code, path in labels.items():
        own = _templates_of(templates[code]) if code in templates else ()
        languages.append(_of_table(path, code, own))
    return MultilingualLabels(languages, sorted(templates.keys() - labels.keys()))


def _of_table(path: Path, code: str, templates: tuple[str, ...]) -> LanguageLabels:
    indices, names = [], []
    for number, line in enumerate(read_text(path, "class names").splitlines(), start=1):
        if not line.strip():
            continue
        index, tab, written = line.partition("\t")
        if not tab or not re.fullmatch(r"[0-9]{1,9}", index.strip()):
            raise LabelsError(f"line {number} of {said(path)} is {line!r}; expected a class's index, a tab and a name")
        indices.append(int(index))
        names.append(tuple(name.strip() for name in written.split(BETWEEN_NAMES)))
    return _named(path, code, tuple(indices), tuple(names), templates)


def _templates_of(path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in read_text(path, "templates").splitlines() if line.strip()]
    for line in lines:
        check_template(line, said(path))
    if not lines:
        raise LabelsError(f"{said(path)} has no template; write one in every line, or remove the file")
    return tuple(lines)


def _of_json(place: str | Path, templates: str | Path | None) -> MultilingualLabels:
    content = read_json(place, "list of class names")
    own = _prompts_of(templates) if templates is not None else {}
    if not isinstance(content, dict):
        raise LabelsError(f"{said(place)} holds a {type(content).__name__}; expected {{LANG: [[indices], [names]]}}")
    languages = []
    for code, entry in content.items():
        if not _is_entry(entry):
            raise LabelsError(f"language {code!r} of {said(place)} is not [[class indices], [names]]; mend its entry")
        indices, names = entry
        parts = (code, tuple(indices), tuple((name,) for name in names), own.pop(code.lower(), ()))
        languages.append(_named(place, *parts))
    return MultilingualLabels(languages, list(own))


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and all(isinstance(part, list) for part in entry)
        and all(type(index) is int for index in entry[0])
        and all(isinstance(name, str) for name in entry[1])
    )


def _prompts_of(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Templates of a JSON file {LANG: [templates]}, by code in lower case."""
    content = read_json(path, "list of templates")
    if not isinstance(content, dict):
        raise LabelsError(f"{said(path)} holds a {type(content).__name__}; expected {{LANG: [templates]}}")
    for code, own in content.items():
        if not isinstance(own, list) or not all(isinstance(template, str) for template in own):
            raise LabelsError(f"language {code!r} of {said(path)} is not a list of templates; mend its entry")
        for template in own:
            check_template(template, f"language {code!r} of {said(path)}")
    return {code.lower(): tuple(own) for code, own in content.items()}


def _named(
    place: str | Path,
    code: str,
    indices: tuple[int, ...],
    names: tuple[tuple[str, ...], ...],
    templates: tuple[str, ...],
) -> LanguageLabels:
    """Labels whose errors name the file that they are from."""
    try:
        return LanguageLabels(code, indices, names, templates)
    except LabelsError as error:
        raise LabelsError(f"{said(place)}: {error}") from None
