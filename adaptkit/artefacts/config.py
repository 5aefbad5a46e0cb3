"""ArtefactConfig: the content of `adapter_config.json`, checked while it is read."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from adaptkit.artefacts.atomic_file import Json
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.options import declared, from_plain, make

FORMAT = "adaptkit-adapter"
# 3 where prompts say other names than answers; 2 where classes have sentences of their own; 1 for all others.
FORMAT_VERSION = 3

Kind = TypeVar("Kind")


class ArtefactError(ValueError):
    """Error for a saved method that cannot be loaded; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Part:
    """A method or wrapper by its registered name, with its options as JSON values."""

    name: str
    options: dict[str, Json]


@dataclass(frozen=True)
class BackboneFacts:
    """Facts about the backbone that a method was saved on."""

    source: WeightsSource
    dtype: str  # Name of the dtype, such as "float32".
    weights_sha256: str  # The value of `FrozenCLIP.weights_hash`.


@dataclass(frozen=True)
class ArtefactConfig:
    """A saved method without its tensors."""

    method: Part
    wrappers: tuple[Part, ...]  # in the order in which `create_method` takes them
    backbone: BackboneFacts
    classnames: tuple[str, ...]  # C, in label order
    templates: tuple[str, ...]
    bound_to_classes: bool  # whether `set_classes` refuses other names
    tensors_sha256: str  # of the tensors' file
    versions: dict[str, str]
    sentences: tuple[tuple[str, ...], ...] | None = None  # of each class its own
    spoken: tuple[str, ...] | None = None  # what prompts say of each class in the place of its name

    def to_json(self) -> str:
        """The content of `adapter_config.json`."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        image_size = self.backbone.source.image_size
        if self.spoken is None:
            content["format_version"] = 1 if self.sentences is None and image_size is None else 2
        # Entries that are younger than the format are left out where they say nothing.
        if self.sentences is None:
            del content["sentences"]
        if self.spoken is None:
            del content["spoken"]
        if image_size is None:
            del content["backbone"]["source"]["image_size"]
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, place: str) -> "ArtefactConfig":
        """What `to_json` wrote.

        Args:
            place: where the text is from, for errors.

        Raises:
            ArtefactError: if it is no such file, or of a later version.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ArtefactError(f"the adapter_config.json of {place} is no JSON: {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            kind = ", but one of the PEFT library" if isinstance(content, dict) and "peft_type" in content else ""
            raise ArtefactError(f"{place} is no adapter of adaptkit{kind}; `method.save_pretrained(...)` makes one")
        version = content.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ArtefactError(
                f"{place} has format version {version!r} and this adaptkit reads up to {FORMAT_VERSION}; "
                "upgrade adaptkit"
            )
        try:
            return _config(content)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(
                f"the adapter_config.json of {place} is damaged ({error}); save the method again or get another copy"
            ) from None


def _config(content: Mapping[str, Json]) -> ArtefactConfig:
    backbone = _entry(content, "backbone", dict)
    source = _entry(backbone, "source", dict)
    return ArtefactConfig(
        method=_part(_entry(content, "method", dict)),
        wrappers=tuple(_part(wrapper) for wrapper in _entry(content, "wrappers", list)),
        backbone=BackboneFacts(
            source=WeightsSource(
                _entry(source, "name", str),
                _optional_text(source, "pretrained"),
                _optional_text(source, "checkpoint"),
                _optional_size(source, "image_size"),
            ),
            dtype=_entry(backbone, "dtype", str),
            weights_sha256=_entry(backbone, "weights_sha256", str),
        ),
        classnames=_texts(content, "classnames"),
        templates=_texts(content, "templates"),
        bound_to_classes=_entry(content, "bound_to_classes", bool),
        tensors_sha256=_entry(content, "tensors_sha256", str),
        versions={str(name): str(version) for name, version in _entry(content, "versions", dict).items()},
        sentences=_sentences(content),
        spoken=None if content.get("spoken") is None else _texts(content, "spoken"),
    )


def _part(content: Json) -> Part:
    if not isinstance(content, dict):
        raise TypeError(f"{content!r} names no method and no wrapper")
    return Part(_entry(content, "name", str), _entry(content, "options", dict))


def _entry(content: Mapping[str, Json], key: str, kind: type[Kind]) -> Kind:
    if key not in content:
        raise KeyError(f"no entry {key!r}")
    value = content[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {value!r}")
    return value


def _optional_text(content: Mapping[str, Json], key: str) -> str | None:
    return None if content.get(key) is None else _entry(content, key, str)


def _optional_size(content: Mapping[str, Json], key: str) -> tuple[int, int] | None:
    if content.get(key) is None:
        return None
    sides = _entry(content, key, list)
    if len(sides) != 2 or not all(type(side) is int for side in sides):
        raise TypeError(f"{key} is {sides!r}, no height and width")
    return sides[0], sides[1]


def _texts(content: Mapping[str, Json], key: str) -> tuple[str, ...]:
    values = _entry(content, key, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{key} holds something that is no text")
    return tuple(str(value) for value in values)


def _sentences(content: Mapping[str, Json]) -> tuple[tuple[str, ...], ...] | None:
    if content.get("sentences") is None:
        return None
    lists = _entry(content, "sentences", list)
    return tuple(_texts({"sentences": own}, "sentences") for own in lists)


def options_from_json(kind: type[Kind], part: Part, place: str) -> Kind:
    """Options of a method or wrapper as its dataclass; options missing in the JSON keep their defaults.

    Raises:
        ArtefactError: if an option is unknown or has a value that it cannot have.
    """
    fields = declared(kind)
    unknown = sorted(part.options.keys() - fields.keys())
    if unknown:
        raise ArtefactError(
            f"{place} sets {unknown[0]!r}, which is no option of {part.name} here; it may be from a later adaptkit"
        )
    try:
        return make(kind, {name: from_plain(value, fields[name].hint) for name, value in part.options.items()})
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{place} has options that {part.name} refuses: {error}") from None
