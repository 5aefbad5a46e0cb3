"""The two trainings of XBT on features and images, by the loop that trains on pairs."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, create_method
from adaptkit.artefacts.tensors import check_learnt
from adaptkit.contract.pair_objective import TrainedOnPairs, room_for_text
from adaptkit.features.xbt import Compat, Projection, Space, start_projection
from adaptkit.features.xbt.stages import BesideUntouched, PairStage, TextStage
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import ViewConfig
from trainers.evaluation.upgrade import Rows, cross_scores
from trainers.pairs.batches import Captions, PairBatches, captions_of
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.training import PairTraining, train_on_pairs
from trainers.pairs.upgrade.best import BestEpoch
from trainers.pairs.upgrade.encoded import Encoded, groups_of
from trainers.pairs.upgrade.settings import XBTConfig
from trainers.training.checkpoints import Checkpoints

PIECE = 128  # pairs that are encoded with gradients at a time
UNCUT = 2**31  # rows of features, which need no pieces
CROPS = ViewConfig(min_area=0.8)  # crops that keep what captions speak of, as in `adaptkit tune`
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """Where a fit writes itself down, and whom it tells."""

    folder: Path | None  # None writes nothing down
    checkpoint: CheckpointConfig
    tell: Tell

    def checkpoints(self, stage: str, config: XBTConfig, *parts: object) -> Checkpoints | None:
        """Checkpoints of a stage, which no other settings and no other data find."""
        if self.folder is None:
            return None
        facts = [stage, asdict(config), *(digest(part) if isinstance(part, Tensor) else part for part in parts)]
        identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return Checkpoints(self.folder / f"{stage}-{identity[:16]}", identity, self.checkpoint)


@dataclass(frozen=True)
class Fitted:
    """What a stage has made."""

    phi: Projection
    phi_image: Projection | None
    lora: AdaptedCLIP | None
    losses: tuple[float, ...]
    sigma_max: float
    epoch: int = 0  # of stage 2, that was taken

    def compat(self, old: Space, new: Encoded, notes: tuple[str, ...] = ()) -> Compat:
        """The upgrade of what was made so far."""
        return Compat(old, new.backbone, self.phi, self.phi_image, self.lora, sigma_max=self.sigma_max, notes=notes)


def digest(rows: Tensor) -> str:
    """SHA-256 of a tensor's numbers."""
    return hashlib.sha256(rows.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def fit_texts(
    new: Encoded, new_texts: Tensor, old_texts: Tensor, noise: float, config: XBTConfig, work: Work
) -> Fitted:
    """Stage 1: phi learns on features (N, d_n) and (N, d_o) of the same texts.

    Args:
        noise: largest noise in units of 1 / sqrt(d_n).
    """
    phi = start_projection(new_texts, old_texts, config.start, config.hidden, config.seed)
    method = create_method("zero_shot", new.backbone, None)
    sigma_max = noise * new_texts.shape[1] ** -0.5
    stage = TextStage(method, phi, sigma_max, lambda_c=config.lambda_c, lambda_m=config.lambda_m, tau=config.tau)
    optim, every = config.text_optim(len(new_texts)), torch.arange(len(new_texts))
    if not config.epochs:
        return Fitted(phi.requires_grad_(False).eval(), None, None, (), sigma_max)
    batches = PairBatches(
        new.dataset,
        Captions(("",) * len(every), every, every, 0),  # texts are features already, one of each
        every,
        new.backbone.preprocess_cfg,
        ViewConfig("none"),
        optim.batch_size,
        config.seed,
        image_features=new_texts.cpu(),
        text_features=old_texts.cpu(),
    )
    seed = derived_seed("xbt texts", config.seed)
    with seeded(seed, new.backbone.device):
        losses = train_on_pairs(
            TrainedOnPairs(method, stage),
            batches,
            PairTraining(optim, Pieces(UNCUT, seed)),
            work.checkpoints("texts", config, noise, new_texts, old_texts),
            lambda epoch, loss: work.tell(f"texts, epoch {epoch} of {config.epochs}: loss {loss:.3f}"),
        )
    check_sound(dict(phi.named_parameters()), "--lr")
    return Fitted(phi.requires_grad_(False).eval(), None, None, losses, sigma_max)


def fit_pairs(new: Encoded, old: Space, first: Fitted, gallery: Rows, config: XBTConfig, work: Work) -> Fitted:
    """Stage 2: a head of images or updates of the new towers learn on the training pairs, without the old model.

    Args:
        gallery: the validation pairs as the old model has them, which say which epoch is the best.
    """
    phi_image, lora = None, None
    method = create_method("zero_shot", new.backbone, None)
    if config.stage2 == "lora":
        method = lora = _lora(new, config)
    else:
        phi_image = copy.deepcopy(first.phi).requires_grad_(True)
    second = Fitted(first.phi, phi_image, lora, (), first.sigma_max)
    plain = new.rows("val")

    def score() -> float:
        return validation_rsum(second.compat(old, new), new, gallery, plain)

    stage = PairStage(method, first.phi, phi_image, config.tau)
    # With frozen towers the three terms are two equal ones and a constant; the images alone learn.
    trained = TrainedOnPairs(method if lora is None or config.frozen_texts else BesideUntouched(method), stage)
    learnt = {name: tensor for name, tensor in trained.learnt_parameters().items()}
    best = BestEpoch(learnt, score())
    stage.add_module("best", best)
    batches = _pair_batches(new, lora, config)
    seed = derived_seed("xbt pairs", config.seed)

    def on_epoch(epoch: int, loss: float) -> None:
        check_sound(learnt, "--pair-lr")
        reached = score()
        best.see(epoch, reached, learnt)
        work.tell(f"pairs, epoch {epoch} of {config.pair_epochs}: loss {loss:.3f}, validation rsum {reached:.1f}")

    with seeded(seed, new.backbone.device):
        losses = train_on_pairs(
            trained,
            batches,
            PairTraining(config.pair_optim(len(new.pairs.train)), Pieces(UNCUT if lora is None else PIECE, seed)),
            work.checkpoints("pairs", config, *first.phi.state_dict().values(), gallery.images, plain.images),
            on_epoch,
        )
    with torch.no_grad():
        for name, tensor in best.tensors().items():
            learnt[name].copy_(tensor)
    if phi_image is not None:
        phi_image.requires_grad_(False).eval()
    return Fitted(first.phi, phi_image, lora, losses, first.sigma_max, int(best.epoch))


def check_sound(learnt: Mapping[str, Tensor], option: str) -> None:
    """Refuse learnt tensors that no training ends with; a last step that was too large shows in no loss.

    Args:
        option: of the command, which sets the rate.

    Raises:
        ArithmeticError: names the tensor.
    """
    for name, tensor in learnt.items():
        try:
            check_learnt(name, tensor)
        except ValueError as error:
            raise ArithmeticError(f"the training diverged ({error}); lower {option}") from None


def validation_rsum(compat: Compat, new: Encoded, gallery: Rows, plain: Rows) -> float:
    """The sum of the six recalls of the validation pairs, as queries of an upgrade in the old gallery.

    Args:
        gallery: their features by the old model.
        plain: their features by the new model as it is.
    """
    return cross_scores(mapped_rows(compat, new, "val", plain), gallery, new.captions("val").image).rsum


def mapped_rows(compat: Compat, new: Encoded, part: str, plain: Rows) -> Rows:
    """A part's images and captions as queries of an upgrade; `plain` are their features by the new model as it is."""
    rows = plain if compat.lora is None else new.rows(part, compat.lora)  # type: ignore[arg-type]
    return Rows(compat.map_images(rows.images), compat.map_texts(rows.texts))


def _lora(new: Encoded, config: XBTConfig) -> AdaptedCLIP:
    """Low-rank updates of query and value projections, which change nothing yet."""
    encoder = "vision" if config.frozen_texts else "both"
    with seeded(config.seed, new.backbone.device):
        return create_method(
            "clip_lora", new.backbone, None, r=config.rank, params=("q", "v"), encoder=encoder, dropout=0.0
        )


def _pair_batches(new: Encoded, lora: AdaptedCLIP | None, config: XBTConfig) -> PairBatches:
    """The training pairs: pixels where the image tower learns, words where the text tower does, features elsewhere."""
    rows, captions, learns_texts = (
        new.rows("train"),
        new.captions("train"),
        lora is not None and not config.frozen_texts,
    )
    if learns_texts:
        assert lora is not None
        captions = captions_of(new.pairs.train, new.backbone.tokenizer, room_for_text(lora))
    return PairBatches(
        new.dataset,
        captions,
        groups_of(new.pairs),
        new.backbone.preprocess_cfg,
        CROPS if lora is not None else ViewConfig("none"),
        config.pair_optim(len(new.pairs.train)).batch_size,
        config.seed,
        new.looking.workers,
        new.looking.kept,
        None if lora is not None else rows.images.cpu(),
        None if learns_texts else rows.texts.repeat(1, 2).cpu(),
    )
