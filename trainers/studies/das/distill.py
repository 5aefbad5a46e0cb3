"""Distil stand-ins for every block of an image tower, once, from unlabelled images (ours; not in the paper of DAS).

This is the search of DAS with another loss. In every step the gates draw a sub-network, and its adapters learn to
reproduce the features of the whole tower. The loss is its drift (adaptkit/wrappers/das/drift.py), and the rewards make
sub-networks of small drift more likely. The search throws the adapters away; here they are kept, beside the gates.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, Support, create_method
from adaptkit.artefacts.atomic_file import Json
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.wrappers import DAS, DASConfig
from adaptkit.wrappers.das.search import RewardSearch
from adaptkit.wrappers.das.stand_ins import write_stand_ins
from datasets_fewshot import FewShotDataset, Item, Split, files_hash
from datasets_fewshot.own.checked_images import check_images
from datasets_fewshot.own.image_tree import walk_images
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import ImageBatches, evaluation_batches
from trainers.runs.data import Bench
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import train

FITTED_IMAGES = 256  # number of images on which the stand-ins are fitted before training
REWARD_EVERY = 10  # steps between two rewards
VIEWS = ViewConfig("exact")


@dataclass(frozen=True)
class Distillation:
    """Length and speed of the training of stand-ins."""

    steps: int = 10_000
    batch_size: int = 64
    lr: float = 1e-3  # AdamW's rate, which falls to 0 along a cosine after a short warm-up
    weight_decay: float = 0.01
    seed: int = 1

    @property
    def optim(self) -> OptimConfig:
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            steps=self.steps,
            batch_size=self.batch_size,
            lr_scheduler="cosine_steps",
            warmup_share=0.02,
        )


class SubNetworkDrift(AdaptedCLIP):
    """The drift of a new sub-network in every step, as a method that learns from images and ignores their labels.

    Args:
        das: a DAS in its search phase, with `distill` at 1.
    """

    consumes = "images"

    def __init__(self, das: DAS):
        super().__init__(das.backbone, das.classes)
        search = das.search()
        assert isinstance(search, RewardSearch)
        self.das, self.search_of_blocks = das, search
        self.register_buffer("gates", search.gates[0].values)  # the gates' own tensor, so that checkpoints hold it
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # number of steps done, on the CPU

    def logits(self, x: Tensor) -> Tensor:
        return self.das.logits(x)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> the drift of a sub-network, a scalar; every tenth call also updates the gates."""
        self.steps += 1
        if int(self.steps) % REWARD_EVERY == 0:
            self._reward(x)
        self.search_of_blocks.sample()
        return self.das.drift_term(x)

    @torch.no_grad()
    def _reward(self, images: Tensor) -> None:
        choices = self.search_of_blocks.candidates()
        drifts: list[Tensor] = []
        for choice in choices:
            self.das.use(choice)
            drifts.append(self.das.drift_term(images))
        self.search_of_blocks.learn(choices, torch.stack(drifts).tolist())


def unlabelled_images(root: Path, skip_bad: bool) -> FewShotDataset:
    """Collect all images below a folder as the training images of a data set, all with the same label.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder holds no image, or some cannot be read and `skip_bad` is off.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(root)!r}; give one with images, at any depth")
    paths = [path.relative_to(root).as_posix() for path in walk_images(root)]
    if not paths:
        raise ValueError(f"{str(root)!r} holds no images; give a folder with some, at any depth")
    bad = check_images(root, paths).bad
    if bad and not skip_bad:
        raise ValueError(
            f"{len(bad)} of {len(paths)} images cannot be read, such as {min(bad)!r}; remove them, or leave them out "
            "with --skip-bad"
        )
    items = tuple(Item(path, 0, "image") for path in paths if path not in bad)
    return FewShotDataset(root.name, root, Split(items, (), ()), reading="upright")


def distill_stand_ins(
    images: FewShotDataset,
    options: DASConfig,
    settings: Distillation,
    bench: Bench,
    out: Path,
    on_epoch: Callable[[int], None] | None = None,
) -> tuple[float, ...]:
    """Learn adapters for every block of the bench's image tower and write them; an interrupted run is resumed.

    Args:
        images: the training items are used, without their labels.
        options: bottlenecks, `kept`, `scale`, `skip_form`, and `skip_vision`: how many blocks a sub-network skips.
        out: the file to write; checkpoints lie beside it until it exists.
        on_epoch: called with the number of finished passes over the images.

    Returns:
        The mean drift of the sub-networks in each pass over the images.

    Raises:
        ValueError: if no block would be skipped.
        DivergedError: if the drift is not finite.
    """
    if not options.skip_vision:
        raise ValueError("skip_vision=0; say how many blocks a sub-network is to skip, with --skip-vision")
    options = replace(options, init="fitted", stand_ins="", select="search", encoder="vision", skip_text=0, distill=1.0)
    items, backbone = images.split.train, bench.backbone
    identity: dict[str, Json] = {
        "options": json.loads(json.dumps(asdict(options))),
        "settings": asdict(settings),
        "weights": backbone.weights_hash,
        "precision": bench.precision,
        "images": files_hash(images.image_root, items, images.moved),
    }
    work = out.with_name(f".{out.name}.training")
    with seeded(derived_seed("distill", settings.seed), backbone.device):
        method = _sub_networks(backbone, options)
        chosen = [items[index] for index in torch.randperm(len(items))[:FITTED_IMAGES].tolist()]
        parts = evaluation_batches(images, chosen, backbone.preprocess_cfg, FITTED_IMAGES, bench.workers)
        for pixels, labels in parts:
            method.das.prepare(Support(pixels.to(backbone.device), labels.to(backbone.device)))
        batches = ImageBatches(
            images, items, backbone.preprocess_cfg, VIEWS, settings.batch_size, True, settings.seed, bench.workers
        )
        checkpoints = Checkpoints(work, run_id(identity), bench.checkpoint)
        log = train(method, batches, settings.optim, None, bench.precision, on_epoch, checkpoints)
    adapters = method.das.vision_adapters
    assert adapters is not None
    gates = method.search_of_blocks.gates[0].values.tolist()
    facts = {"images": str(len(items)), "mean_drift": f"{log.losses[-1]:.5f}"}
    facts |= _as_text(asdict(settings)) | _as_text(identity["options"])
    write_stand_ins(out, backbone, adapters, gates, facts)
    discard_checkpoints(work)
    with contextlib.suppress(OSError):  # Something else lies in it.
        work.rmdir()
    return log.losses


def _sub_networks(backbone: FrozenCLIP, options: DASConfig) -> SubNetworkDrift:
    das = create_method("zero_shot", backbone, ["image"], wrap=[("das", options)]).to(backbone.device)
    assert isinstance(das, DAS)
    return SubNetworkDrift(das)


def _as_text(facts: Json) -> dict[str, str]:
    assert isinstance(facts, dict)
    return {name: str(value) for name, value in facts.items()}
