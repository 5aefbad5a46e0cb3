"""The things that all runs of a bench share: the backbone, what it has encoded, and where records go."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaptkit import AdaptedCLIP, FrozenCLIP
from adaptkit.contract.batches import Examples
from adaptkit.contract.images import wanted_views
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.precision import Precision
from trainers.compute.team import ALONE, Team
from trainers.config.settings import CheckpointConfig, RunConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.feeds import FEEDS, Feed, TokensFeed, labels_of
from trainers.feeding.kept_pixels import KeptPixels
from trainers.runs.start import ZERO_SHOT, Start


@dataclass(frozen=True)
class Bench:
    """The parts that all runs share."""

    backbone: FrozenCLIP
    encoder: ImageEncoder
    precision: Precision
    suite: str
    out: Path
    workers: int = 0
    pretrained: str = ""  # Origin of the weights, for the records.
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    pixels: KeptPixels = field(default_factory=KeptPixels)
    # Number of processes that train a run together, if its method takes images.
    processes: int = 1
    team: Team = ALONE  # The place of this process among them.
    start: Start | None = None  # What trainings start from, if not as their methods begin; see `start_of`.

    def start_of(self, config: RunConfig) -> Start | None:
        """What a run starts from; the baseline that stands beside it starts as it always does."""
        return None if config.method == ZERO_SHOT else self.start

    def feed(self, method: AdaptedCLIP) -> Feed:
        """The way from images to this method's input."""
        parts = (self.backbone, self.encoder, self.workers, self.pixels, self.team, wanted_views(method))
        feed = FEEDS[method.consumes](*parts)
        return replace(feed, first_only=method.first_row_only) if isinstance(feed, TokensFeed) else feed

    def examples(self, dataset: FewShotDataset, items: Sequence[Item]) -> Examples:
        """Training images as objectives see them before the first step."""
        features, device = self.encoder.plain_features(dataset, items), self.backbone.device
        names = tuple(item.path for item in items)
        return Examples(names, labels_of(items).to(device), features.to(device))
