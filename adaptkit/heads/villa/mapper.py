"""ViLLA's mapping model: which region of an image carries which of the attributes that its text lists.

Varma et al., "ViLLA: Fine-Grained Vision-Language Representation Learning from Real-World Data", arXiv:2308.11194, and
its released code (StanfordMIMI/villa 9b29196). On frozen features r of regions and frozen texts t_a of attributes, with
the projections p_a of `projections` and the losses of `losses`:
    learn:   contrast of max_r cos(p_a(r), t_a) / tau between images that list a and those that do not
    map:     a goes to every region within epsilon of the best one of its image
    search:  images by max_r cos(p_a(r), t_a)
The regions and attributes that belong together make region-text pairs for a second stage, see `tuning`.

Departure: the paper's regions are RoIAlign features of a CLIP ResNet; ours are of crops or of patch tokens.
Departure: n_pos(a) of the released denominator is left out, and heads of attributes that a batch lacks rest, unless
    `strict_loss` is off. The assignment has >= unless `strict_assignment` is on.
Departure: beyond 200 attributes a head of its own is of rank 64 and in the adapter form, unless options say otherwise.
Departure: synonyms are no negatives of each other, and log-sum-exp may pool regions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.images import Images, one_by_one, opened
from adaptkit.contract.registry import register_head
from adaptkit.heads.villa.assignment import EPSILON, assign
from adaptkit.heads.villa.boxes import GRID, grid_boxes
from adaptkit.heads.villa.losses import TAU, mapping_loss, pooled_cosines, synonym_matrix
from adaptkit.heads.villa.projections import Projections
from adaptkit.heads.villa.region_features import image_region_features, picture_features
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

MOST_FULL_HEADS = 200  # attributes up to which each has a head of full rank
LOW_RANK = 64
ADAPTER_KEEP = 0.8
ROWS_AT_ONCE = 4096  # regions whose cosines are computed together where nothing is learnt


@options
class VillaConfig:
    attributes: tuple[str, ...] = option(("red", "blue"), "The attributes, as texts list them.", filled=True)
    heads: Literal["per_attribute", "shared", "adapter"] = option(
        "per_attribute",
        "A projection for each attribute, one for all, or one for all that keeps most of the region feature.",
    )
    hidden: int = option(
        0, "Width of the hidden layer of a projection; 0 for D, or 64 for those of more than 200 attributes.", least=0
    )
    keep: float | None = option(
        None,
        "Share of the region feature that stays; null for 0.8 in the adapter form and beyond 200 attributes, else 0.",
        least=0,
        below=1,
    )
    pooling: Literal["max", "logsumexp"] = option("max", "How cosines of regions become that of their image.")
    pool_temperature: float = option(0.1, "Temperature of log-sum-exp, in cosines.", above=0)
    temperature: float = option(TAU, "Temperature tau of the loss.", above=0)
    strict_loss: bool = option(
        True,
        "The denominator is without n_pos(a), and heads of absent attributes rest; false is as released, where the "
        "optimiser's decay and momentum move them, too.",
    )
    epsilon: float = option(EPSILON, "Cosine below the best region within which an attribute is assigned.", least=0)
    strict_assignment: bool = option(False, "Assign above the bound alone, as released, and not at it.")
    synonyms: tuple[tuple[str, ...], ...] = option(
        (), "Groups of attributes that mean the same, which are no negatives of each other."
    )
    template: str = option("{}", "The text of an attribute; {} stands for it.", filled=True)
    regions: Literal["crops", "patches"] = option(
        "crops", "Features of regions: of resized crops, or means of the patch tokens inside a box."
    )
    grid: tuple[int, ...] = option(GRID, "Sides of the grids whose boxes are the regions of an answer.", least=1)
    topk: int = option(5, "Attributes that an answer lists.", least=1)

    def __post_init__(self) -> None:
        twice = [name for name in self.attributes if self.attributes.count(name) > 1]
        if not self.attributes or twice:
            raise ValueError(f"attributes has {twice[0]!r} twice" if twice else "attributes=(); give one or more")
        if "{}" not in self.template:
            raise ValueError(f"template={self.template!r} has no {{}}; write it where the attribute stands")
        if not self.grid:
            raise ValueError("grid=(); give one side or more, such as (1, 2, 3)")
        synonym_matrix(self.attributes, self.synonyms)


@dataclass(frozen=True)
class Mapped:
    """An attribute that was given to a region."""

    image: int  # from 0
    region: int  # of its image, from 0
    attribute: str
    score: float  # cosine


@register_head("villa", VillaConfig, touches="after")
class RegionAttributeMapper(Head):
    """Images (B, 3, H, W) -> cosines (B, R, A) of the regions of a grid with attributes.

    Example:
        ```python
        from adaptkit.heads.villa import grid_boxes, picture_features

        backbone = adaptkit.load_backbone("adaptkit-mini")
        mapper = adaptkit.create_head("villa", backbone, attributes=("battery", "bell"), heads="shared")
        rows = picture_features(backbone, [Image.open("photo.jpg").convert("RGB")], [grid_boxes()])
        table = mapper.map(rows, torch.tensor([len(rows)]), torch.tensor([[1, 0]]))
        print(table[0].region, table[0].attribute, table[0].score)
        ```
    """

    consumes = "images"

    def __init__(self, backbone: FrozenCLIP, config: VillaConfig):
        super().__init__(backbone)
        self.config, self.attributes = config, config.attributes
        if config.regions == "patches":
            backbone.require_vit_blocks('regions="patches"')
        own = config.heads == "per_attribute"
        many = own and len(self.attributes) > MOST_FULL_HEADS
        keep = ADAPTER_KEEP if config.heads == "adapter" or many else 0.0
        self.projections = Projections(
            backbone.embed_dim,
            len(self.attributes) if own else 1,
            config.hidden or (LOW_RANK if many else None),
            keep if config.keep is None else config.keep,
        )
        self.texts = backbone.keep_text(partial(self.encoded, self.attributes))
        self.synonyms = synonym_matrix(self.attributes, config.synonyms) if config.synonyms else None
        self.to(backbone.device)

    def encoded(self, attributes: Sequence[str]) -> Tensor:
        """Unit embeddings (A, D) of attributes in the template; for words that were learnt, see `texts`.

        Raises:
            ValueError: if one is longer than the context.
        """
        written = [self.config.template.replace("{}", name) for name in attributes]
        with torch.no_grad():
            return F.normalize(at_least_fp32(self.backbone.encode_text(written)), dim=-1)

    def cosines(self, regions: Tensor, listed: Sequence[int] | None = None) -> Tensor:
        """Region features (R, D) -> cosines (R, A) with all attributes, or with those of some numbers."""
        with torch.autocast(regions.device.type, enabled=False):
            rows, texts = at_least_fp32(regions), self.texts()
            texts = (texts if listed is None else texts[list(listed)]).to(rows)
            return self.projections.cosines(rows, texts, listed)

    @torch.no_grad()
    def mapped_cosines(self, regions: Tensor) -> Tensor:
        """The same for any number of regions, on the CPU and a part at a time."""
        parts = (part.to(self.device) for part in regions.split(ROWS_AT_ONCE))
        return torch.cat([self.cosines(part).cpu() for part in parts])

    @torch.no_grad()
    def query_cosines(self, regions: Tensor, attribute: str) -> Tensor:
        """Region features (R, D) -> cosines (R,) with one attribute; a shared head takes any words.

        Raises:
            ValueError: if each attribute has a head of its own, and this one has none.
        """
        regions = regions.to(self.device)
        if attribute in self.attributes:
            return self.cosines(regions, [self.attributes.index(attribute)])[:, 0]
        if self.config.heads == "per_attribute":
            raise ValueError(
                f"the attribute {attribute!r} has no head; there are {', '.join(self.attributes[:8])}"
                f'{", ..." if len(self.attributes) > 8 else ""}; heads="shared" or "adapter" take any words'
            )
        rows = at_least_fp32(regions)
        return self.projections.cosines(rows, self.encoded([attribute]).to(rows))[:, 0]

    def pooled(self, cosines: Tensor, counts: Tensor) -> Tensor:
        """Cosines (R_1 + ... + R_B, A) of regions -> those of their images (B, A)."""
        return pooled_cosines(cosines, counts, self.config.pooling, self.config.pool_temperature)

    def region_loss(self, regions: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        """The loss of a batch of images.

        Args:
            regions: features (R_1 + ... + R_B, D), image after image.
            labels: (B, A), 1 or True where an image lists an attribute.
            counts: (B,) regions of each image.

        Raises:
            ValueError: if they do not belong together, or no image lists any attribute.
        """
        present = labels.any(dim=0).nonzero()[:, 0].tolist()
        if not present:
            raise ValueError("no image of the batch lists any attribute, so nothing is learnt from it; leave it out")
        synonyms = None
        if self.synonyms is not None:
            synonyms = self.synonyms[present][:, present]
        strict = self.config.strict_loss  # where it is off, absent heads have gradients of zero, and AdamW steps them
        cosines = self.cosines(regions, present) if strict else self.cosines(regions)[:, present]
        scores = self.pooled(cosines, counts) / self.config.temperature
        return mapping_loss(scores, labels[:, present], strict, synonyms)

    def map(self, regions: Tensor, counts: Tensor, labels: Tensor) -> list[Mapped]:
        """The table of regions and the attributes that they carry, image after image.

        Args:
            regions: features (R_1 + ... + R_B, D).
            counts: (B,) regions of each image.
            labels: (B, A), 1 or True where an image lists an attribute; no other is assigned in it.

        Raises:
            ValueError: if they do not belong together.
        """
        return list(self._table(self.mapped_cosines(regions), counts.cpu(), labels.cpu()))

    def _table(self, cosines: Tensor, counts: Tensor, labels: Tensor) -> Iterator[Mapped]:
        assigned = assign(cosines, counts, labels, self.config.epsilon, self.config.strict_assignment)
        owner = torch.arange(len(counts)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        for row, attribute in assigned.nonzero().tolist():
            image = int(owner[row])
            name = self.attributes[attribute]
            yield Mapped(image, row - int(first[image]), name, float(cosines[row, attribute]))

    def outputs(self, x: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> cosines (B, R, A) of the grid's regions."""
        rows = image_region_features(self.backbone, x, grid_boxes(self.config.grid), self.config.regions)
        return self.cosines(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """The loss of preprocessed images (B, 3, H, W) by their grids, labels (B, A)."""
        rows = image_region_features(self.backbone, x, grid_boxes(self.config.grid), self.config.regions)
        counts = torch.full((len(rows),), rows.shape[1])
        return self.region_loss(rows.flatten(0, 1), targets.to(rows.device), counts)

    def described(self, outputs: Tensor) -> list[Answer]:
        """Of each image the nearest attributes with their cosines and the box of the region, as shares of its sides."""
        boxes = grid_boxes(self.config.grid).tolist()
        best, places = outputs.float().max(dim=1)  # (B, A)
        topk = min(self.config.topk, len(self.attributes))
        return [
            {
                "attributes": [
                    {"attribute": self.attributes[a], "score": float(values[a]), "box": boxes[int(where[a])]}
                    for a in values.argsort(descending=True, stable=True)[:topk].tolist()
                ]
            }
            for values, where in zip(best, places, strict=True)
        ]

    @torch.no_grad()
    def answers(self, images: Images, batch_size: int = 64) -> list[Answer]:
        """What the head says of images of any kind; crops are cut from pictures before these are made small."""
        if isinstance(images, Tensor) and images.is_floating_point():
            return super().answers(images, batch_size)
        boxes = grid_boxes(self.config.grid)
        found: list[Answer] = []
        for image in one_by_one(images):
            known = opened(self, image)
            if isinstance(known, Tensor):
                found += super().answers(known[None], batch_size)
            else:
                rows = picture_features(self.backbone, [known], [boxes], self.config.regions)
                found += self.described(self.cosines(rows)[None])
        return found
