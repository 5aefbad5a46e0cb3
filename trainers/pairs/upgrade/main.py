"""One upgrade from pairs and captions to a saved folder: what `adaptkit upgrade fit` calls."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptkit import FrozenCLIP
from adaptkit.artefacts.atomic_file import is_half_written
from adaptkit.features.xbt import Compat, Space, save_compat
from adaptkit.features.xbt.compat_files import FACTS_FILE
from adaptkit.layers.image_texts import fit_text
from adaptkit.regular_file import said
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.config.settings import CheckpointConfig
from trainers.evaluation.upgrade import cross_scores
from trainers.pairs.judging import Looking
from trainers.pairs.upgrade.encoded import Encoded, KeptFeatures, check_parts
from trainers.pairs.upgrade.settings import FitResult, XBTConfig
from trainers.pairs.upgrade.stages import Fitted, Work, fit_pairs, fit_texts, validation_rsum
from trainers.training.checkpoints import discard_checkpoints

WORK = ".training"  # folder of checkpoints and features beside the upgrade, until it is finished


@dataclass(frozen=True)
class UpgradeData:
    """What an upgrade is fitted on.

    Args:
        pairs: with validation pairs; training pairs for stage 2.
        captions: further texts of stage 1, without images.
    """

    pairs: PairSet
    captions: Sequence[str] = ()

    @property
    def texts(self) -> list[str]:
        """All different texts of stage 1: the captions of the training pairs, then the others."""
        own = (caption for item in self.pairs.train for caption in item.captions)
        return list(dict.fromkeys([*own, *self.captions]))


def fit_upgrade(
    old: FrozenCLIP,
    new: FrozenCLIP,
    data: UpgradeData,
    config: XBTConfig,
    looking: Looking,
    tell: Callable[[str], None],
    folder: Path | None = None,
    checkpoint: CheckpointConfig | None = None,
) -> tuple[Compat, FitResult]:
    """Fit an upgrade, and save it where a folder is named; the same call goes on from where it was stopped.

    Args:
        old: encodes texts for stage 1, and the validation pairs for the choice of an epoch.
        folder: None saves nothing and writes nothing down.

    Raises:
        ValueError: if the data has too little, or the folder holds something else.
        ArithmeticError: if a loss is not finite.

    Example:
        ```python
        from datasets_fewshot.pairs.load import load_pairs
        from trainers.feeding.kept_pixels import KeptPixels
        from trainers.pairs.judging import Looking
        from trainers.pairs.upgrade.main import UpgradeData, fit_upgrade
        from trainers.pairs.upgrade.settings import XBTConfig

        model = adaptkit.load_backbone("adaptkit-mini")
        data, config = UpgradeData(load_pairs("mini_pairs")), XBTConfig(epochs=0, stage2="none")
        compat, result = fit_upgrade(model, model, data, config, Looking("fp32", 0, KeptPixels()), print)
        print(result.rsum)
        ```
    """
    check_parts(data.pairs, ["train", "val"])
    for model in (old, new):  # before anything is written: a text of which not even a word fits is an error
        for text in data.texts:
            fit_text(text, model.tokenizer)
    work, kept = Work(None, CheckpointConfig(), tell), KeptFeatures()
    if folder is not None:
        check_folder(folder)
        work = Work(folder / WORK, checkpoint or CheckpointConfig(), tell)
        kept = KeptFeatures(folder / WORK)
    old_pairs, new_pairs = (Encoded(model, data.pairs, looking, kept) for model in (old, new))
    tell(f"encoding {len(data.texts)} texts and {len(data.pairs.val)} validation images with both models")
    space, gallery, plain = Space.of(old), old_pairs.rows("val"), new_pairs.rows("val")
    rsum = {"old/old": cross_scores(gallery, gallery, old_pairs.captions("val").image).rsum}

    def reached(fitted: Fitted) -> float:
        return validation_rsum(fitted.compat(space, new_pairs), new_pairs, gallery, plain)

    old_texts, new_texts = old_pairs.texts(data.texts), new_pairs.texts(data.texts)
    found: list[tuple[float, float, Fitted]] = []
    for noise in config.noise:
        fitted = fit_texts(new_pairs, new_texts, old_texts, noise, config, work)
        found.append((reached(fitted), noise, fitted))
        tell(f"stage 1 with noise {noise:g}: validation rsum {found[-1][0]:.1f}, old alone {rsum['old/old']:.1f}")
    rsum["stage 1"], noise, first = max(found, key=lambda one: one[0])
    final = first
    if config.stage2 != "none":
        final = fit_pairs(new_pairs, space, first, gallery, config, work)
        rsum["stage 2"] = reached(final)
    result = FitResult(
        folder=folder or Path(),
        noise=noise,
        text_losses=first.losses,
        pair_losses=() if final is first else final.losses,
        pair_epoch=final.epoch,
        rsum=rsum,
        texts=len(data.texts),
        images=len(data.pairs.train),
        notes=data.pairs.notes,
    )
    compat = final.compat(space, new_pairs, _notes(result, config, data.pairs.name))
    if folder is not None:
        save_compat(compat, folder)
        kept.discard()
        _discard_stages(folder / WORK)
    return compat, result


def _discard_stages(work: Path) -> None:
    """Remove the checkpoints of a finished fit, and its folders unless something else lies in them."""
    for stage in (*work.glob("texts-*"), *work.glob("pairs-*")):
        discard_checkpoints(stage)
        with contextlib.suppress(OSError):
            stage.rmdir()
    with contextlib.suppress(OSError):
        work.rmdir()


def check_folder(folder: Path) -> None:
    """Refuse a place for an upgrade where something lies that is none.

    Raises:
        ValueError: if there is a file, or a folder with other things than a fit leaves.
    """
    if folder.is_file():
        raise ValueError(f"--out {said(folder)} is a file; give a folder")
    if folder.is_dir() and not (folder / FACTS_FILE).is_file():
        others = [entry.name for entry in folder.iterdir() if entry.name != WORK and not is_half_written(entry)]
        if others:
            raise ValueError(f"--out {said(folder)} holds {others[0]!r} and is no upgrade; give another folder")


def _notes(result: FitResult, config: XBTConfig, name: str) -> tuple[str, ...]:
    words = ", ".join(f"{stage} {value:.1f}" for stage, value in result.rsum.items())
    notes = [
        f"stage 1 on {result.texts} texts with noise {result.noise:g} / sqrt(d_n), {config.epochs} epochs from "
        f"{config.start}",
        f"rsum of the validation pairs of {name} in the old gallery: {words}",
    ]
    if config.stage2 != "none":
        notes.append(
            f"stage 2 ({config.stage2}) on {result.images} images, epoch {result.pair_epoch} of {config.pair_epochs}"
        )
    return tuple(notes)
