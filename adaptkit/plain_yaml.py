"""YAML of plain values: nothing in it is executed, and nothing multiplies."""

from collections.abc import Hashable
from typing import Any

import yaml

from adaptkit.regular_file import MAX_TEXT_BYTES, Place, parsed, read_text


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, a few of which can stand for billions of values, and without keys that stand twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias before it is followed."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice, of which PyYAML would take the last in silence."""
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.YAMLError(f"{key.value!r} stands twice, again on line {key.start_mark.line + 1}")
            if isinstance(key, yaml.ScalarNode):
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Place, what: str, most: int = MAX_TEXT_BYTES) -> object:
    """The content of a YAML file, made of plain values only.

    Raises:
        FileNotFoundError, FileError: as `read_text` and `parse_yaml` do.
    """
    return parse_yaml(read_text(path, what, most), what, path)


def parse_yaml(text: str, what: str, path: Place) -> object:
    """YAML text -> its content.

    Raises:
        FileError: if it is no YAML of plain values, has aliases or a key twice, is a web page, or is nested too deeply.
    """
    return parsed(_load, text, "YAML", what, path)


def _load(text: str) -> object:
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, TypeError, AttributeError, OverflowError) as error:  # PyYAML's own for hostile scalars
        raise ValueError(str(error)) from error
