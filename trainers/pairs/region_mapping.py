"""From images with texts to a saved mapping model, to its table, and to images that are found by an attribute."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, TrainingFacts, create_head
from adaptkit.artefacts.atomic_file import Json, replacing
from adaptkit.heads.villa import RegionAttributeMapper, pooled_cosines
from adaptkit.heads.villa.region_features import picture_features
from adaptkit.regular_file import user_path
from trainers.compute.seeds import seeded
from trainers.evaluation.tagging import mean_average_precision
from trainers.fit.regions import MapperTraining, train_mapper
from trainers.pairs.region_data import RegionData
from trainers.retrieval.region_index import RegionIndex, index_of
from trainers.training.checkpoints import discard_checkpoints

IMAGES_AT_ONCE = 256
INDEX_FOLDER = "regions"  # of a mapping model, for the features that it learnt from


@dataclass(frozen=True)
class MapperRequest:
    """What is to be trained."""

    out: Path
    options: Mapping[str, object]  # of the head
    epochs: int
    lr: float
    batch_size: int
    seed: int
    index: Path | None = None  # where features of regions are kept; None for a folder in `out`


@dataclass(frozen=True)
class MapperResult:
    """What a training led to: mean average precision over attributes on held-out images, in percent."""

    out: Path
    index: Path
    attributes: int
    training_images: int
    held_out_images: int
    losses: tuple[float, ...]
    trained: float | None  # None where no held-out image lists an attribute
    zero_shot: float | None  # the same regions without a head
    whole_image: float | None  # the first region alone without a head, which is the whole image in a grid

    @property
    def lines(self) -> list[str]:
        """The result for people."""
        said = [
            f"{self.attributes} attributes, {self.training_images} images to learn from, loss {self.losses[-1]:.3f}"
        ]
        if self.trained is not None:
            said.append(
                f"mean average precision on {self.held_out_images} other images: {self.trained:.1f} %, zero-shot "
                f"regions {self.zero_shot:.1f} %, first region alone {self.whole_image:.1f} %"
            )
        return [
            *said,
            f"wrote {self.out}: `adaptkit regions map {self.out} DATA --out map.csv` writes a table, "
            f"`adaptkit regions search {self.out} {self.index} --attribute TEXT` finds images",
        ]

    def as_json(self) -> dict[str, Json]:
        """The result for programs."""
        return {
            "attributes": self.attributes,
            "training_images": self.training_images,
            "held_out_images": self.held_out_images,
            "losses": list(self.losses),
            "map": {"trained": self.trained, "zero_shot": self.zero_shot, "first_region": self.whole_image},
            "index": str(self.index),
        }


def map_and_save(data: RegionData, backbone: FrozenCLIP, request: MapperRequest) -> MapperResult:
    """Encode regions, train a mapping model on those of the training images, and save it.

    Raises:
        ValueError: if `out` is a file, no training image lists an attribute, an image cannot be read, or the index is
            of other regions.
        ArithmeticError: if the loss is not finite.
    """
    if request.out.exists() and not request.out.is_dir():
        raise ValueError(f"--out {str(request.out)!r} is a file; give a folder")
    settings = MapperTraining(request.epochs, request.lr, batch_size=request.batch_size, seed=request.seed)
    with seeded(request.seed, backbone.device):
        mapper = create_head("villa", backbone, **request.options)
    assert isinstance(mapper, RegionAttributeMapper)
    labels, train = data.labels(mapper.attributes), data.part("train")
    if not labels[train].any():
        raise ValueError(
            f"none of the texts of {len(train)} training images names any of {len(mapper.attributes)} attributes, such "
            f"as {mapper.attributes[0]!r}; give attributes that stand in the texts as whole words"
        )
    place = request.index or request.out / INDEX_FOLDER
    index = index_of(data.source, backbone, place, mapper.config.regions)
    losses = train_mapper(mapper, index, labels, settings, images=train, work=request.out)
    others = data.part("val") + data.part("test")
    scores = held_out_scores(mapper, index, labels, others)
    result = MapperResult(
        request.out, place, len(mapper.attributes), len(train), len(others), losses, *(scores or (None, None, None))
    )
    facts = TrainingFacts(data.name, 0, seed=request.seed, epochs=request.epochs, notes=tuple(result.lines[:-1]))
    mapper.save_pretrained(request.out, facts)
    discard_checkpoints(request.out)
    return result


def held_out_scores(
    mapper: RegionAttributeMapper, index: RegionIndex, labels: Tensor, images: list[int]
) -> tuple[float, float, float] | None:
    """Mean average precision over attributes of images by their best region: trained, without head, first region."""
    if not images or not labels[images].any():
        return None
    trained, plain, first = [], [], []
    for part in _parts(images):
        rows, counts = index.rows_of(part), index.counts[part]
        trained.append(pooled_cosines(mapper.mapped_cosines(rows), counts))
        cosines = rows @ mapper.texts().float().cpu().T
        plain.append(pooled_cosines(cosines, counts))
        first.append(cosines[counts.cumsum(0) - counts])
    found = labels[images]
    return tuple(mean_average_precision(torch.cat(some), found) for some in (trained, plain, first))  # type: ignore[return-value]


def write_table(
    mapper: RegionAttributeMapper, data: RegionData, out: Path, folder: Path | None = None
) -> tuple[int, int]:
    """Write the table of a map; returns its lines, and how many images have some.

    Args:
        out: .csv or .jsonl.
        folder: of an index of regions, which is made if it is not there; None encodes regions and keeps none.

    Raises:
        ValueError: if no text names an attribute, an image cannot be read, or the index is of other regions.
    """
    labels = data.labels(mapper.attributes)
    if not labels.any():
        raise ValueError(
            f"none of the texts of {len(data.images)} images names any of the {len(mapper.attributes)} attributes of "
            f"the head, such as {mapper.attributes[0]!r}; give texts or a column that do"
        )
    index = None if folder is None else index_of(data.source, mapper.backbone, folder, mapper.config.regions)
    lines, images = 0, set[str]()
    with replacing(user_path(out, "table")) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if out.suffix.lower() == ".csv":
            table.writerow(["image", "x0", "y0", "x1", "y1", "attribute", "score"])
        for name, box, attribute, score in _mapped(mapper, data, labels, index):
            lines, images = lines + 1, images | {name}
            if out.suffix.lower() == ".csv":
                table.writerow([name, *(f"{side:.6g}" for side in box), attribute, f"{score:.6f}"])
            else:
                row = {"image": name, "box": [round(side, 6) for side in box], "attribute": attribute, "score": score}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return lines, len(images)


def _mapped(
    mapper: RegionAttributeMapper, data: RegionData, labels: Tensor, index: RegionIndex | None
) -> Iterator[tuple[str, list[float], str, float]]:
    """Image, box, attribute and score, some images at a time."""
    source = data.source
    for part in _parts([image for image in range(len(labels)) if labels[image].any()]):
        if index is not None:
            rows = index.rows_of(part)
        else:
            boxes = [source.boxes[image] for image in part]
            pictures = [source.load(image) for image in part]
            rows = picture_features(mapper.backbone, pictures, boxes, mapper.config.regions).cpu()
        counts = torch.tensor([len(source.boxes[image]) for image in part])
        for one in mapper.map(rows, counts, labels[part]):
            image = part[one.image]
            yield source.names[image], source.boxes[image][one.region].tolist(), one.attribute, one.score


@dataclass(frozen=True)
class Hit:
    """An image that was found, with the region that answers best."""

    image: str  # below the index's root
    box: list[float]  # as shares of its sides
    score: float  # cosine


def search(mapper: RegionAttributeMapper, index: RegionIndex, attribute: str, top: int) -> list[Hit]:
    """The images of an index whose best region is nearest to an attribute, the nearest first.

    Raises:
        ValueError: if another backbone made the index, or each attribute has a head and this one has none.
    """
    index.check(mapper.backbone, mapper.config.regions)
    cosines = torch.cat([mapper.query_cosines(part, attribute).cpu() for part in index.parts()])  # (R,)
    best = [own.max(dim=0) for own in cosines.split(index.counts.tolist())]
    scores = torch.stack([one.values for one in best])
    found = []
    for image in scores.argsort(descending=True, stable=True)[:top].tolist():
        place = int(index.starts[image]) + int(best[image].indices)
        found.append(Hit(index.images[image], index.boxes[place].tolist(), float(scores[image])))
    return found


def _parts(images: list[int]) -> Iterator[list[int]]:
    return (images[at : at + IMAGES_AT_ONCE] for at in range(0, len(images), IMAGES_AT_ONCE))
