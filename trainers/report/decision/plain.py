"""Content of JSON -> dataclasses, whose fields say what may stand there."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TypeVar

from adaptkit.options import declared, from_plain, make

Kind = TypeVar("Kind")


def made_of(kind: type[Kind], content: object) -> Kind:
    """A dataclass of the entries that are its fields; other entries are none of its business.

    Raises:
        ValueError: if an entry is missing, or is not what its field declares.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}; expected an object")
    known = declared(kind)
    needed = [one.name for one in fields(kind) if one.default is MISSING]  # type: ignore[arg-type]
    missing = [name for name in needed if name not in content]
    if missing:
        raise ValueError(f"it has no entry {missing[0]!r}")
    try:
        values = {name: from_plain(content[name], said.hint) for name, said in known.items() if name in content}
        return make(kind, values)
    except TypeError as error:  # an entry of an entry is missing
        raise ValueError(str(error)) from None
