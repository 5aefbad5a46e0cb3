"""One's own queries: a JSON object a line.

    {"reference": "a.jpg", "modifier": "in red", "target": "b.jpg"}
    {"reference": "a.jpg", "modifier": "at night", "target": ["c.jpg", "d.jpg"], "subset": ["e.jpg"], "group": "time"}

Paths are below the folder of the gallery. `subset` are other images that the targets are looked for among, beside the
whole gallery; `group` names queries whose results are given apart.
"""

from collections.abc import Sequence
from pathlib import Path

from adaptkit.regular_file import parse_json, read_text
from datasets_fewshot.composed.composed_set import ComposedQuery, ComposedSet, check_queries
from datasets_fewshot.composed.fields import inside, name_of, text_of, texts_of
from datasets_fewshot.splits.validation import SplitError

WHAT = "list of queries"
FIELDS = frozenset({"reference", "modifier", "target", "subset", "group"})


def read_queries(path: str | Path, image_root: Path, gallery: Sequence[str]) -> ComposedSet:
    """The queries of a .jsonl file.

    Args:
        image_root: folder that all paths are below.
        gallery: the images that queries are asked of.

    Raises:
        FileNotFoundError, FileError: if it cannot be read.
        SplitError: names the line and what was expected there.
    """
    queries = []
    for number, line in enumerate(read_text(path, WHAT).splitlines(), start=1):
        if line.strip():
            queries.append(_query(line, f"{path}: line {number}", path))
    found, known = tuple(queries), tuple(gallery)
    check_queries(str(path), known, found)
    own = next((query for query in found if query.reference in query.targets), None)
    if own is not None:
        raise SplitError(
            f"{path}: the query {own.modifier[:80]!r} means its own image {own.reference!r}, which is left out of its "
            "ranking; name another target"
        )
    has_many = any(len(query.targets) > 1 for query in found)
    return ComposedSet(Path(path).stem, image_root, known, found, precision_at=(5, 10, 25, 50) if has_many else ())


def _query(line: str, where: str, path: str | Path) -> ComposedQuery:
    entry = parse_json(line, WHAT, path)
    if not isinstance(entry, dict):
        raise SplitError(f"{where} is no JSON object; expected {{'reference': .., 'modifier': .., 'target': ..}}")
    unknown = sorted(set(entry) - FIELDS)
    if unknown:
        raise SplitError(f"{where} has the field {unknown[0]!r}; expected {', '.join(sorted(FIELDS))}")
    targets = texts_of(entry, "target", where)
    subset = texts_of(entry, "subset", where) if entry.get("subset") else ()
    reference = inside(name_of(entry, "reference", where), where)
    return ComposedQuery(
        reference,
        text_of(entry, "modifier", where),
        tuple(inside(name, where) for name in targets),
        tuple(name for name in (inside(name, where) for name in subset) if name != reference),
        text_of(entry, "group", where) if entry.get("group") else "",
    )
