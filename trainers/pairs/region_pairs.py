"""Region-text pairs: regions of images with the sentences that name what was assigned to them, for a second stage."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from adaptkit import FrozenCLIP
from adaptkit.heads.villa import RegionAttributeMapper, mean_embedding, region_text, sentences_of
from adaptkit.heads.villa.boxes import pixel_box
from adaptkit.heads.villa.region_features import picture_features
from adaptkit.layers.image_texts import fit_texts
from trainers.compute.seeds import derived_seed
from trainers.pairs.region_data import RegionData
from trainers.retrieval.region_index import RegionIndex

WHOLE = (0.0, 0.0, 1.0, 1.0)
TEXTS_AT_ONCE = 128


@dataclass(frozen=True)
class RegionPairs:
    """P regions with what is said of them, and whole images with all that is said of these."""

    image: tuple[int, ...]
    box: tuple[tuple[float, ...], ...]
    sentences: tuple[tuple[str, ...], ...]
    unnamed: int  # attributes that no sentence of their image names, so that they stand for themselves

    def __len__(self) -> int:
        return len(self.image)

    @property
    def groups(self) -> Tensor:
        """(P,) int64, equal where the sentences are."""
        known = {said: place for place, said in enumerate(dict.fromkeys(map(frozenset, self.sentences)))}
        return torch.tensor([known[frozenset(said)] for said in self.sentences])


def region_pairs(
    mapper: RegionAttributeMapper, index: RegionIndex, data: RegionData, images: Sequence[int], seed: int
) -> RegionPairs:
    """The region-text pairs of some images by what a mapping model assigns, and each image with its whole text.

    Raises:
        ValueError: if no image lists any attribute.
    """
    draw = random.Random(derived_seed("sentences", seed))
    labels = data.labels(mapper.attributes)[list(images)]
    counts, starts = index.counts[list(images)], index.starts[list(images)]
    attributes: dict[tuple[int, int], list[str]] = {}
    for one in mapper.map(index.rows_of(images), counts, labels):
        attributes.setdefault((one.image, one.region), []).append(one.attribute)
    if not attributes:
        raise ValueError("none of the images lists any attribute, so there are no region-text pairs; check the texts")
    found: list[tuple[int, tuple[float, ...], tuple[str, ...]]] = []
    unnamed = 0
    for (place, region), own in attributes.items():
        said = region_text(data.texts[images[place]], own, draw.randrange)
        unnamed += said.unnamed
        found.append((images[place], tuple(index.boxes[int(starts[place]) + region].tolist()), said.sentences))
    for image in images:
        text = data.texts[image]
        found.append((image, WHOLE, tuple(sentences_of(text)) or (text,)))
    image_of, box, sentences = zip(*found, strict=True)
    return RegionPairs(image_of, box, sentences, unnamed)


@torch.no_grad()
def text_embeddings(backbone: FrozenCLIP, pairs: RegionPairs) -> Tensor:
    """Unit embeddings (P, D) of what is said; every sentence is encoded once, and one that is too long is cut."""
    known = {text: place for place, text in enumerate(dict.fromkeys(text for own in pairs.sentences for text in own))}
    fitted = fit_texts(list(known), backbone.tokenizer)
    parts = [fitted[at : at + TEXTS_AT_ONCE] for at in range(0, len(fitted), TEXTS_AT_ONCE)]
    rows = torch.cat([backbone.encode_text(part).float() for part in parts])
    return torch.stack([mean_embedding(rows[[known[text] for text in own]]) for own in pairs.sentences])


def crop_of(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """The region of a picture."""
    return picture.crop(pixel_box(box, *picture.size))


@torch.no_grad()
def pair_features(mapper: RegionAttributeMapper, index: RegionIndex, data: RegionData, pairs: RegionPairs) -> Tensor:
    """Unit features (P, D) of the regions of pairs: those of the index, and of whole images that it lacks."""
    rows: list[Tensor] = []
    for image, own in _by_image(pairs):
        start, count = int(index.starts[image]), int(index.counts[image])
        known = {tuple(box): place for place, box in enumerate(index.boxes[start : start + count].tolist())}
        features = index.rows_of([image])
        for place in own:
            if pairs.box[place] in known:
                rows.append(features[known[pairs.box[place]]])
            else:
                boxes = [torch.tensor([pairs.box[place]])]
                picture = data.source.load(image)
                rows.append(picture_features(mapper.backbone, [picture], boxes, mapper.config.regions)[0].cpu())
    order = torch.tensor([place for _, own in _by_image(pairs) for place in own])
    return torch.stack(rows)[order.argsort()]


def _by_image(pairs: RegionPairs) -> list[tuple[int, list[int]]]:
    """Numbers of images with the places of their pairs."""
    found: dict[int, list[int]] = {}
    for place, image in enumerate(pairs.image):
        found.setdefault(image, []).append(place)
    return list(found.items())
