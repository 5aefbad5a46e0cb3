"""Queries of composed image retrieval with their gallery: the form that every set of them takes."""

from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.splits.validation import SplitError


@dataclass(frozen=True, slots=True)
class ComposedQuery:
    """An image, a text that says what shall be different, and the images that are meant; paths below the image root."""

    reference: str
    modifier: str
    targets: tuple[str, ...]  # one or more, none of them twice
    subset: tuple[str, ...] = ()  # images that the targets are looked for among, too, without the reference
    group: str = ""  # of which results are given apart


@dataclass(frozen=True)
class ComposedSet:
    """Queries, and the gallery that they are asked of."""

    name: str
    image_root: Path
    gallery: tuple[str, ...]  # paths below the root, each once
    queries: tuple[ComposedQuery, ...]
    recall_at: tuple[int, ...] = (1, 5, 10, 50)
    precision_at: tuple[int, ...] = ()  # mAP, where queries have several targets
    hides_reference: bool = True  # whether the image of a query is taken out of its ranking


def check_queries(where: str, gallery: tuple[str, ...], queries: tuple[ComposedQuery, ...]) -> None:
    """Refuse queries that cannot be asked of a gallery.

    Raises:
        SplitError: if there are none, or a target or an image of a subset is not in the gallery.
    """
    if not queries:
        raise SplitError(f"{where} holds no query with a target; test parts are published without, so give another one")
    known = set(gallery)
    for number, query in enumerate(queries, start=1):
        missing = [name for name in (*query.targets, *query.subset) if name not in known]
        if missing:
            raise SplitError(
                f"{where}: query {number} ({query.modifier[:80]!r}) means the image {missing[0]!r}, which is not among "
                f"the {len(gallery)} of the gallery; add it, or remove the query"
            )
