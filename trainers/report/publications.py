"""Published numbers as data: values in the papers, their sources, and our recipes for them."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

AVERAGE = "average"


@dataclass(frozen=True)
class PublishedRow:
    """One method's line of a published table."""

    protocol: str
    method: str  # Name in our registry.
    printed: str  # Name in the paper.
    variant: str  # Origin and settings of the run; "" if there is nothing to tell.
    backbone: str  # open_clip's name; the weights are OpenAI's.
    shots: int
    seeds: tuple[int, ...]
    recipe: bool  # True if our recipe of the method in this protocol reproduces this line.
    source: str
    # Data sets with numbers recalled from memory, not read in any source.
    unverified: tuple[str, ...]
    # Data set, test or "average" -> measure -> percent.
    values: dict[str, dict[str, float]]
    transductive: bool = False  # True if images and names of the new classes were learnt from.

    @property
    def rounding(self) -> float:
        """Half of the last printed digit."""
        numbers = (value for measures in self.values.values() for value in measures.values())
        return 0.5 * 10.0 ** -max(len(str(number).partition(".")[2]) for number in numbers)


@cache
def published_rows(protocol: str) -> tuple[PublishedRow, ...]:
    """All published lines of a protocol; none if no paper uses the protocol."""
    file = resources.files("trainers.report") / "published" / f"{protocol}.json"
    if not file.is_file():
        return ()
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(
        PublishedRow(
            protocol=protocol,
            source=content["sources"][row.pop("source")],
            seeds=tuple(row.pop("seeds")),
            unverified=tuple(row.pop("unverified")),
            **row,
        )
        for row in content["rows"]
    )


def published_places(protocol: str) -> tuple[str, ...]:
    """The data sets or tests of a full published table, in its order."""
    rows = published_rows(protocol)
    return max((tuple(place for place in row.values if place != AVERAGE) for row in rows), key=len, default=())


def rows_to_compare(protocol: str, method: str, backbone: str) -> tuple[PublishedRow, ...]:
    """The lines to compare a method with: those of our recipe and of the backbone, as far as they exist."""
    own = [row for row in published_rows(protocol) if row.method == method]
    own = [row for row in own if row.recipe] or own
    nearest = backbone if any(row.backbone == backbone for row in own) else own[0].backbone if own else backbone
    return tuple(row for row in own if row.backbone == nearest)
