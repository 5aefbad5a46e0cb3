"""A mapping model in the form that the training loop takes: batches of regions, labels and counts of regions."""

import torch
from torch import Tensor

from adaptkit.backbone.inputs import Consumes
from adaptkit.classes.class_set import NO_CLASSES
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.heads.villa.mapper import RegionAttributeMapper


class MapperInTraining(AdaptedCLIP):
    """The mapper while it learns; it has no classes, and only its loss is called."""

    consumes: Consumes = "features"

    def __init__(self, mapper: RegionAttributeMapper):
        super().__init__(mapper.backbone, NO_CLASSES)
        self.mapper = mapper

    def logits(self, x: Tensor) -> Tensor:
        """Region features (R, D) -> cosines (R, A)."""
        return self.mapper.cosines(x)

    def loss(self, x: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """Region features (R_1 + ... + R_B, D), labels (B, A) and counts of regions (B,) -> scalar.

        Counts that are left out are 1 each.
        """
        counts = torch.ones(len(labels), dtype=torch.int64) if places is None else places.cpu()
        return self.mapper.region_loss(x, labels, counts)
