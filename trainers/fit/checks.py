"""Checks of class names and templates against the text tower, made before an image is encoded."""

from collections.abc import Sequence

from adaptkit import ClassSet, FrozenCLIP

NAMES_SHOWN = 5


def check_names(classes: ClassSet, backbone: FrozenCLIP) -> None:
    """Check that every template with every class name fits into the text tower's context.

    Raises:
        ValueError: names the template or the class names that are too long.
    """
    tokenizer, room = backbone.tokenizer, backbone.context_length
    special = (tokenizer.start_id is not None) + (tokenizer.end_id is not None)
    alone = {template: special + len(tokenizer.words(template.format(""))) for template in classes.templates}
    longest = max(alone, key=lambda template: alone[template])
    if alone[longest] >= room:
        raise ValueError(
            f"the template {longest!r} has {alone[longest]} tokens without a class name, and {backbone.name}'s text "
            f"tower has room for {room}; shorten the template"
        )
    lengths = {name: special + len(tokenizer.words(longest.format(name))) for name in classes.readable}
    too_long = [name for name, length in lengths.items() if length > room]
    if too_long:
        raise ValueError(
            f"{len(too_long)} class names are too long for the {room} positions of {backbone.name}'s text tower: "
            f"{_shown(too_long)} needs {lengths[too_long[0]]} in {longest!r}, which has {alone[longest]} without a "
            "name; shorten the names in a classnames.txt beside the data, or with --classnames, or shorten the template"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
