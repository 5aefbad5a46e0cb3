"""YAML of plain values: nothing in it is executed, and nothing multiplies."""

import yaml

from adaptkit.regular_file import MAX_TEXT_BYTES, Place, parsed, read_text


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, a few of which can stand for billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias before it is followed."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value out")
        return super().compose_node(parent, index)


def read_yaml(path: Place, what: str, most: int = MAX_TEXT_BYTES) -> object:
    """The content of a YAML file, made of plain values only.

    Raises:
        FileNotFoundError, FileError: as `read_text` and `parse_yaml` do.
    """
    return parse_yaml(read_text(path, what, most), what, path)


def parse_yaml(text: str, what: str, path: Place) -> object:
    """YAML text -> its content.

    Raises:
        FileError: if it is no YAML of plain values, has aliases, is a web page, or is nested too deeply.
    """
    return parsed(_load, text, "YAML", what, path)


def _load(text: str) -> object:
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, TypeError, AttributeError, OverflowError) as error:  # PyYAML's own for hostile scalars
        raise ValueError(str(error)) from error
