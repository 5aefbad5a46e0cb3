"""Composed image retrieval with files: galleries from folders, queries from images and texts, and their scores."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptkit.backbone.inputs import convert
from adaptkit.contract.images import prepared
from adaptkit.heads.isa import Isa, image_only, slerp, summed, text_only
from datasets_fewshot.composed.circo import read_circo
from datasets_fewshot.composed.cirr import read_cirr
from datasets_fewshot.composed.composed_set import ComposedSet
from datasets_fewshot.composed.fashion_iq import read_fashion_iq
from trainers.evaluation.composed import ComposedScores, composed_scores
from trainers.retrieval.gallery import Gallery, build_gallery, open_gallery
from trainers.retrieval.sources import Entries, image_below, read_entries
from trainers.retrieval.towers import PairTowers

LAYOUTS: Mapping[str, Callable[[Path, str], tuple[ComposedSet, ...]]] = {
    "fashion_iq": read_fashion_iq,
    "cirr": read_cirr,
    "circo": read_circo,
}
BASELINES = {"image only": image_only, "text only": text_only, "sum": summed, "slerp": slerp}
ROWS = 64  # images that are read together


@dataclass(frozen=True)
class References:
    """Images of queries, each once: pseudo words (N, K, D_t) and the backbone's own features (N, D)."""

    words: Tensor
    features: Tensor


@contextmanager
def gallery_of(place: str | Entries, towers: PairTowers, verify: bool = False) -> Iterator[Gallery]:
    """An index as `adaptkit retrieve build` writes it, or one of a folder's images that is made for the while.

    Raises:
        FileNotFoundError, FileError: if it is neither, or is damaged.
        ValueError: if the index was built by another model or holds texts, or an image cannot be read.
    """
    if isinstance(place, str) and (Path(place) / "meta.json").is_file():
        gallery = open_gallery(place, verify)
        gallery.check(towers)
        if gallery.meta.kind != "images":
            raise ValueError(f"the index {place!r} holds texts, and images are looked for; build one of images")
        yield gallery
        return
    entries = read_entries(place) if isinstance(place, str) else place
    if entries.kind != "images":
        raise ValueError(f"{place!r} is a list of texts, and images are looked for; give a folder or an index of them")
    with tempfile.TemporaryDirectory() as folder:
        yield build_gallery(entries, towers, Path(folder) / "gallery").gallery


@torch.no_grad()
def read_references(head: Isa, paths: Sequence[Path]) -> References:
    """The images of queries, read once each.

    Raises:
        ValueError: if one cannot be read.
    """
    words, features = [], []
    for start in range(0, len(paths), ROWS):
        images = torch.stack([prepared(head, path) for path in paths[start : start + ROWS]]).to(head.device)
        x = head.consume(images)
        words.append(head.words(x))
        features.append(convert(head.backbone, x, head.consumes, "features").float())
    return References(torch.cat(words), torch.cat(features))


@torch.no_grad()
def queries_of(
    head: Isa, references: References, places: Sequence[int], modifiers: Sequence[str], beta: float | None = None
) -> Tensor:
    """Unit queries (Q, D) of references with modifiers, on the CPU.

    Args:
        places: which of the references each query has.
    """
    parts = []
    for start in range(0, len(places), ROWS):
        some = slice(start, start + ROWS)
        words = references.words[list(places[some])]
        parts.append(head.queries_of_words(words, modifiers[some], beta).float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def baseline_queries(
    head: Isa, references: References, places: Sequence[int], modifiers: Sequence[str]
) -> dict[str, Tensor]:
    """Unit queries (Q, D) of the ways that need no training, by name, on the CPU."""
    distinct = list(dict.fromkeys(modifiers))
    rows = [head.backbone.encode_text(distinct[at : at + ROWS]).float() for at in range(0, len(distinct), ROWS)]
    numbers = {text: number for number, text in enumerate(distinct)}
    texts = torch.cat(rows)[[numbers[text] for text in modifiers]]
    images = references.features[list(places)]
    return {name: way(images, texts).cpu() for name, way in BASELINES.items()}


def judge(
    head: Isa, asked: ComposedSet, gallery: Gallery, beta: float | None = None, baselines: bool = True
) -> dict[str, dict[str, ComposedScores]]:
    """Scores of a head's queries, and of the ways that need no training: way -> group -> scores.

    All queries together are the group ""; where they are of several groups, each has scores of its own beside it.

    Raises:
        ValueError: if an image of the set is not in the gallery, or cannot be read.
    """
    place = {name: number for number, name in enumerate(gallery.items)}
    _check_gallery(asked, gallery, place)
    names = list(dict.fromkeys(query.reference for query in asked.queries))
    references = read_references(head, [image_below(asked.image_root, name) for name in names])
    number = {name: at for at, name in enumerate(names)}
    places, modifiers = [number[query.reference] for query in asked.queries], [one.modifier for one in asked.queries]
    ways = {"isa": queries_of(head, references, places, modifiers, beta)}
    if baselines:
        ways |= baseline_queries(head, references, places, modifiers)
    rows = gallery.rows.rows([place[name] for name in asked.gallery])
    groups = _groups(asked)
    return {
        way: {group: _scored(asked, queries, rows, own) for group, own in groups.items()}
        for way, queries in ways.items()
    }


def _groups(asked: ComposedSet) -> dict[str, list[int]]:
    """Which queries are of each group; all of them are ""."""
    found: dict[str, list[int]] = {"": list(range(len(asked.queries)))}
    for number, query in enumerate(asked.queries):
        if query.group:
            found.setdefault(query.group, []).append(number)
    return found if len(found) > 2 else {"": found[""]}


def _scored(asked: ComposedSet, queries: Tensor, rows: Tensor, chosen: Sequence[int]) -> ComposedScores:
    """Scores of some queries in rows (N, D) of the set's gallery."""
    at = {name: row for row, name in enumerate(asked.gallery)}
    own = [asked.queries[number] for number in chosen]
    subsets = [[at[name] for name in query.subset] for query in own]
    return composed_scores(
        queries[list(chosen)],
        rows,
        [[at[name] for name in query.targets] for query in own],
        hidden=[at.get(query.reference) for query in own] if asked.hides_reference else None,
        subsets=subsets if any(subsets) else None,
        recall_at=asked.recall_at,
        precision_at=asked.precision_at,
    )


def _check_gallery(asked: ComposedSet, gallery: Gallery, place: Mapping[str, int]) -> None:
    missing = [name for name in asked.gallery if name not in place]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(asked.gallery)} images of {asked.name} are not in the gallery "
            f"{gallery.name!r}, such as {missing[0]!r}; build it from the folder {str(asked.image_root)!r}"
        )
