"""LocalityAligner: the training of locality alignment (MaskEmbed) without labels.

    target  Y = c * F_-1(x * up(m))           the frozen tower without its last block, on masked pixels
    pred    Z = H(G(x), m)                    G sees the whole image, its dropped tokens reach no decoder
    loss    mean((Z - Y)^2) + beta * (1 - cos(pooled G(x), pooled F(x)))
G is the tower with its updates and a head that starts at zero; head and decoder H are thrown away.

Departure: the guard with beta is ours; the paper has none.
"""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from adaptkit.backbone.images import as_preprocessed
from adaptkit.classes.class_set import NO_CLASSES
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.options import option, options
from adaptkit.towers.vision import embed_patches, encode_image, feature_of_rows, rows_behind_blocks
from adaptkit.weights.locality_alignment.decoder import Head, MaskEmbedDecoder, StudentHead
from adaptkit.weights.locality_alignment.losses import Loss, alignment_loss, pooled_guard
from adaptkit.weights.locality_alignment.masks import Sampler, Third, draw_masks
from adaptkit.weights.locality_alignment.method import LocalityAlignment
from adaptkit.weights.locality_alignment.targets import masked_targets, target_scale, target_variance

__all__ = ["AlignmentConfig", "LocalityAligner"]


@options
class AlignmentConfig:
    """What a tower is aligned by."""

    masks: Sampler = option(
        "uniform",
        "How patches are masked: a uniform share, single patches, or blocks; full masks nothing, which is a control.",
    )
    keep: float = option(
        0.5, "Share of patches that bernoulli and blockwise keep; released are 0.5 and 0.4.", above=0, below=1
    )
    third: Third = option("ones", "The third mask of an image; the released blockwise sampler has zeros.")
    loss: Loss = option("mse", "The distance of predictions and targets; kept and dropped count those patches alone.")
    prefix_only: bool = option(False, "Predict the class token of the whole tower, and no patch.")
    skip_blocks: int = option(1, "Blocks at the end of the frozen tower that the targets leave out.", least=0)
    decoder_layers: int = option(2, "Blocks of the decoder.", least=0)
    head: Head = option("linear", "What stands between the tower and the decoder.")
    layer_scale: float = option(1e-6, "Where the LayerScale of the decoder's blocks starts.", least=0)
    beta: float = option(1.0, "Weight of the guard that keeps the pooled feature; 0 lets it go.", least=0)
    chunk: int = option(32, "Images of a step that are computed at a time; results do not change.", least=1)


class LocalityAligner(AdaptedCLIP):
    """A method's tower while it is aligned: what is learnt are its updates, a head and the decoder.

    Args:
        method: what is trained in place.
        config: the masks, the losses and the decoder.
        scale: the factor c of the targets; see `measure_scale`.

    Raises:
        ValueError: if the tower merges rows on the way, has fewer blocks than are skipped, or no class token for
            `prefix_only`.

    Example:
        ```python
        from adaptkit.weights.locality_alignment import LocalityAligner

        backbone = adaptkit.load_backbone("adaptkit-mini")
        aligner = LocalityAligner(adaptkit.create_method("locality_alignment", backbone, None))
        images = torch.randn(4, 3, 48, 48)
        aligner.measure_scale([images])
        aligner.backward(images, torch.zeros(4))
        ```
    """

    consumes: Consumes = "images"
    provides = frozenset({"backward"})

    def __init__(self, method: LocalityAlignment, config: AlignmentConfig | None = None, scale: float = 1.0):
        super().__init__(method.backbone, NO_CLASSES)
        self.config, self.scale = config or AlignmentConfig(), scale
        tower = method.frozen_tower
        self._check(method)
        self.method = method
        heads, config = tower.blocks[0].attn.num_heads, self.config
        self.head = StudentHead(tower.width, tower.width, config.head).to(tower.device)
        self.decoder = MaskEmbedDecoder(
            tower.width,
            heads,
            tower.n_patches,
            tower.n_prefix,
            tower.width,
            config.decoder_layers,
            config.layer_scale,
            config.prefix_only,
        ).to(tower.device)

    def _check(self, method: LocalityAlignment) -> None:
        tower, config = method.frozen_tower, self.config
        if tower.shortening is not None or tower.behind_blocks is not None:
            raise ValueError(
                f"{method.backbone.name} has a wrapper that merges rows or puts something behind the blocks; align the "
                "plain tower, and wrap it afterwards"
            )
        if config.skip_blocks >= tower.depth:
            raise ValueError(f"skip_blocks={config.skip_blocks}; the tower has {tower.depth} blocks, one has to stay")
        if config.prefix_only and not tower.n_prefix:
            raise ValueError(
                f"prefix_only needs a class token, and the image tower of {method.backbone.name} has none; leave it out"
            )

    def undecayed(self) -> set[str]:
        """Biases, norms and scales, as in the released code."""
        return {name for name, parameter in self.learnt_parameters().items() if parameter.ndim < 2}

    def logits(self, x: Tensor) -> Tensor:
        return self.method.logits(x)

    def draw(self, count: int) -> Tensor:
        """Masks (count * K, P) of so many images, by torch's random numbers."""
        config, tower = self.config, self.method.frozen_tower
        return draw_masks(count, tower.grid, config.masks, config.keep, config.third).to(tower.device)

    def targets(self, images: Tensor, masks: Tensor) -> Tensor:
        """What is predicted of images (B, 3, H, W) under masks (B * K, P): (B * K, R, D_v)."""
        config = self.config
        return masked_targets(
            self.method.frozen_tower,
            as_preprocessed(images, self.backbone),
            masks,
            scale=self.scale,
            skip_blocks=config.skip_blocks,
            prefix_only=config.prefix_only,
            chunk=config.chunk * 3,
        )

    def student_rows(self, images: Tensor) -> Tensor:
        """Rows (B, R, D_v) behind the last block of the tower with its updates."""
        tower = self.method.aligned_tower
        return rows_behind_blocks(tower, embed_patches(tower, as_preprocessed(images, self.backbone))).x

    def terms(self, images: Tensor, masks: Tensor) -> dict[Literal["alignment", "guard"], Tensor]:
        """The summands of the loss, by name; the guard is multiplied by beta."""
        rows = self.student_rows(images)
        predictions = self.decoder(self.head(rows), masks)
        found: dict[Literal["alignment", "guard"], Tensor] = {
            "alignment": alignment_loss(predictions, self.targets(images, masks), masks, self.config.loss)
        }
        if self.config.beta:
            with torch.no_grad():
                before = encode_image(self.method.frozen_tower, as_preprocessed(images, self.backbone))
            after = feature_of_rows(self.method.aligned_tower, rows)
            found["guard"] = self.config.beta * pooled_guard(after, before)
        return found

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, H, W) under masks that are drawn -> scalar; the labels (B,) are not read."""
        return torch.stack(list(self.terms(x, self.draw(len(x))).values())).sum()

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of one batch in `.grad`, chunk by chunk, and return its loss."""
        masks, total = self.draw(len(x)), torch.zeros((), device=x.device)
        per_image = len(masks) // len(x)
        for start in range(0, len(x), self.config.chunk):
            images = x[start : start + self.config.chunk]
            own = masks[start * per_image : (start + len(images)) * per_image]
            loss = torch.stack(list(self.terms(images, own).values())).sum() * (len(images) / len(x))
            loss.backward()
            total += loss.detach()
        return total

    def measure_scale(self, batches: Iterable[Tensor]) -> float:
        """Set the factor c from images (B, 3, H, W) that training does not see, and return it; only mse has one.

        Raises:
            ValueError: if the targets do not vary.
        """
        self.scale = 1.0
        if self.config.loss == "mse":
            drawn = (self.targets(images, self.draw(len(images))) for images in batches)
            self.scale = target_scale(target_variance(drawn))
        assert math.isfinite(self.scale)
        return self.scale
