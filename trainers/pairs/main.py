"""One training on image-text pairs, from the data to a saved and judged adapter: what `adaptkit tune` calls."""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import safetensors.torch
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, TrainingFacts, create_method, create_objective, load_backbone
from adaptkit.artefacts.atomic_file import is_half_written
from adaptkit.artefacts.files import CONFIG_FILE
from adaptkit.backbone.devices import choose_device
from adaptkit.classes.templates import templates_for
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import (
    PairObjective,
    TrainedOnPairs,
    image_features,
    learning_sides,
    room_for_text,
)
from adaptkit.layers.image_texts import fit_text
from datasets_fewshot import FewShotDataset, Item, files_hash
from datasets_fewshot.pairs.load import load_pairs
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.compute.precision import choose_precision, choose_threads
from trainers.compute.seeds import derived_seed, seeded
from trainers.compute.team import ALONE, Team
from trainers.config.settings import CheckpointConfig, DataclassInstance
from trainers.config.training import ViewConfig
from trainers.evaluation.retrieval import PairScores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import PairBatches, as_dataset, captions_of
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.diagnosis.tested import judged_on
from trainers.pairs.encoded_once import image_rows, text_encoder
from trainers.pairs.judging import Guard, Looking, PairTest, encoded_images
from trainers.pairs.line import ALPHAS, Place, choose, put_on_line
from trainers.pairs.report import in_words, write_summary
from trainers.pairs.result import TuneRequest, TuneResult
from trainers.pairs.settings import PairSettings
from trainers.pairs.training import PairTraining, train_on_pairs
from trainers.pairs.written_texts import WrittenTexts
from trainers.runs.identity import said
from trainers.training.checkpoints import CHECKPOINTS, Checkpoints, discard_checkpoints

PARTS = ("train", "val", "test")


def tune(request: TuneRequest, tell: Callable[[str], None], team: Team = ALONE) -> TuneResult | None:
    """Train on pairs, choose a place on the line, judge and save; only the leader of a team has a result.

    Raises:
        ValueError: if the data, the method or the objective cannot be trained together; nothing is written then.
        ArithmeticError: if the loss is not finite.
    """
    started = time.monotonic()
    check_folder(request.out)
    return Tuning(request, team).run(tell, started)


def check_folder(folder: Path) -> None:
    """Refuse a place for an adapter where something lies that is none.

    Raises:
        ValueError: if there is a file, or a folder with other things than a training of this kind leaves.
    """
    if folder.is_file():
        raise ValueError(f"--out {str(folder)!r} is a file; give a folder")
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        others = [entry.name for entry in folder.iterdir() if entry.name != CHECKPOINTS and not is_half_written(entry)]
        if others:
            raise ValueError(f"--out {str(folder)!r} holds {others[0]!r} and is no adapter; give another folder")


def backbone_for(request: TuneRequest) -> FrozenCLIP:
    """The backbone that a training asks for, and threads to go with it."""
    device = choose_device(request.device)
    backbone = load_backbone(request.backbone, request.pretrained, request.checkpoint, device=device)
    if device.type == "cpu":
        torch.set_num_threads(choose_threads(0, sum(t.numel() for t in backbone.model.parameters())))
    return backbone


class Tuning:
    """The parts of one training.

    Args:
        pairs: what is trained on; None loads what the request names.
        backbone: None loads the one that the request names.
    """

    def __init__(
        self,
        request: TuneRequest,
        team: Team = ALONE,
        pairs: PairSet | None = None,
        backbone: FrozenCLIP | None = None,
    ):
        self.request, self.team = request, team
        self.pairs = pairs or load_pairs(
            request.data,
            image_column=request.image_column,
            caption_column=request.caption_column,
            group_column=request.group_column,
        )
        self._check()
        self.backbone = backbone or backbone_for(request)
        device = self.backbone.device
        self.looking = Looking(choose_precision("auto", device), request.workers, KeptPixels())
        self.dataset = as_dataset(self.pairs)
        self.method = self._method()
        self.frozen_images: dict[tuple[bool, str, tuple[Item, ...]], Tensor] = {}
        self.room = room_for_text(self.method)
        tokenizer = self.backbone.tokenizer
        self.captions = {part: captions_of(getattr(self.pairs, part), tokenizer, self.room) for part in PARTS}
        self.tests = {
            part: PairTest(self.dataset, getattr(self.dataset.split, part), self.captions[part]) for part in PARTS
        }
        self.guard = None
        if request.guard is not None:
            self.guard = Guard(request.guard, templates_for(request.guard.name))

    def run(self, tell: Callable[[str], None], started: float) -> TuneResult | None:
        """Train, choose, judge and save."""
        team, method = self.team, self.method
        plain = create_method("zero_shot", self.backbone, None)
        before, before_guard = self._judged(plain, "test")
        least = self.guarded(plain, "val")
        tell(f"before: {in_words(before, before_guard)}")

        def on_epoch(epoch: int, loss: float) -> None:
            if team.leads:
                tell(f"epoch {epoch}: loss {loss:.3f}, validation: {in_words(*self._judged(method, 'val'))}")

        start = method.learnt_state()
        losses = self.train(on_epoch)
        if not team.leads:
            return None
        end, places = method.learnt_state(), []
        for alpha in ALPHAS:
            put_on_line(method, start, end, alpha)
            scores, guarded = self._judged(method, "val")
            places.append(Place(alpha, scores.rsum, guarded))
        chosen = choose(places, None if least is None else least - self.request.most_lost)
        put_on_line(method, start, end, chosen.alpha)
        after, after_guard = self._judged(method, "test")
        tell(f"after (alpha {chosen.alpha:g}): {in_words(after, after_guard)}")
        room = room_for_text(method)
        tested = tuple(judged_on(plain, method, tests, self.looking, room) for tests in self.request.tests)
        result = TuneResult(
            folder=self.request.out,
            pairs={part: len(getattr(self.pairs, part)) for part in PARTS},
            captions_cut=sum(captions.cut for captions in self.captions.values()),
            losses=losses,
            before=before,
            after=after,
            guard_before=before_guard,
            guard_after=after_guard,
            places=tuple(places),
            alpha=chosen.alpha,
            seconds=time.monotonic() - started,
            notes=self.pairs.notes,
            tested=tested,
        )
        method.save_pretrained(self.request.out, self._facts(result))
        discard_checkpoints(self.request.out)
        write_summary(result, self.request)
        return result

    def train(self, on_epoch: Callable[[int, float], None]) -> tuple[float, ...]:
        """Train the method from where it stands, or from its checkpoints, and return the mean loss of each epoch."""
        settings, identity, objective = self.request.settings, self.identity(), self._objective()
        seed = derived_seed("pairs", self.request.seed)
        return train_on_pairs(
            TrainedOnPairs(self.method, objective),
            self._batches(objective),
            PairTraining(settings.optim, Pieces(self.request.piece, seed, self.looking.precision, self.team)),
            Checkpoints(self.request.out, identity, settings.checkpoint),
            on_epoch,
        )

    def anew(self, settings: PairSettings, out: Path, start: Mapping[str, Tensor] | None = None) -> "Tuning":
        """Another training on the same pairs.

        Args:
            settings: of the same method.
            start: learnt tensors from which it starts; None starts as a new method does.
        """
        other = copy.copy(self)
        other.request = replace(self.request, settings=settings, out=out)
        other.method, other.frozen_images = other._method(), {}
        if start is not None:
            other.method.load_learnt_state(dict(start))
        return other

    def _check(self) -> None:
        """Refuse data that cannot be trained on and judged."""
        for part in PARTS:
            if len(getattr(self.pairs, part)) < 2:
                raise ValueError(
                    f"{self.request.data} has {len(getattr(self.pairs, part))} images for {part}; a training on pairs "
                    "needs two or more in train, val and test: give more pairs, or name the parts in a column `split`"
                )
        if self.request.settings.optim.batch_size % self.team.count:
            raise ValueError(
                f"OPTIM.BATCH_SIZE {self.request.settings.optim.batch_size} cannot be shared evenly by "
                f"{self.team.count} processes; change one of them"
            )

    def _method(self) -> AdaptedCLIP:
        settings = self.request.settings
        with seeded(self.request.seed, self.backbone.device):
            method = create_method(settings.method, self.backbone, None, settings.options, wrap=settings.wrap)
        self.learns = learning_sides(method)
        if not any(self.learns):
            raise ValueError(
                f"{settings.method} changes the features of no image and no text, so pairs teach it nothing; take one "
                "that adapts the towers, such as clip_lora, adapter, maple or coop"
            )
        return method

    def _objective(self) -> PairObjective:
        settings = self.request.settings
        with seeded(derived_seed("objective", self.request.seed), self.backbone.device):
            objective = create_objective(self.method, [(settings.objective, settings.objective_options)])
        assert isinstance(objective, PairObjective)
        return objective.to(self.method.device)

    def _batches(self, objective: PairObjective) -> PairBatches:
        """The training batches, with all that can be encoded once."""
        listed, captions, views = self.pairs.train, self.captions["train"], self.request.settings.views
        names = {name: place for place, name in enumerate(dict.fromkeys(item.group for item in listed))}
        images = image_rows(self.method, objective, self.dataset, self.looking)
        encode = text_encoder(self.method, objective, self.looking.precision)
        texts = written = None
        if objective.writes_texts:
            fit = partial(fit_text, tokenizer=self.backbone.tokenizer, room=self.room)
            written = WrittenTexts(objective, captions.written, fit, derived_seed("texts", self.request.seed), encode)
        elif encode is not None:
            texts = encode(captions.texts)
        return PairBatches(
            self.dataset,
            captions,
            torch.tensor([names[item.group] for item in listed]),
            self.backbone.preprocess_cfg,
            views if images is None else ViewConfig("none"),
            min(self.request.settings.optim.batch_size, len(listed)),
            self.request.seed,
            self.request.workers,
            self.looking.kept,
            images,
            texts,
            written,
            self.team,
        )

    def _judged(self, method: AdaptedTowers, part: Literal["val", "test"]) -> tuple[PairScores, float | None]:
        """Scores on the pairs of a part, and accuracy on the guard's images of the same part."""
        return self.tests[part].scores(method, self.image_features(method, part), self.looking), self.guarded(
            method, part
        )

    def image_features(self, method: AdaptedTowers, part: Literal["val", "test"]) -> Tensor:
        """Features (N, D) of a part's images."""
        return self._images(method, self.dataset, self.tests[part].items)

    def guarded(self, method: AdaptedTowers, part: Literal["val", "test"]) -> float | None:
        """Accuracy in percent on the guard's images of a part; None without a guard."""
        guard = self.guard
        if guard is None:
            return None
        images = self._images(method, guard.dataset, guard.items(part))
        return guard.accuracy(method, part, images, self.looking)

    @torch.no_grad()
    def _images(self, method: AdaptedTowers, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """Features (N, D) of images; what does not learn is encoded once."""
        is_own = method is self.method
        if method.consumes != "features" and (not is_own or self.learns[0]):
            return encoded_images(method, dataset, items, self.looking)
        key = (is_own, dataset.name, tuple(items))
        if key not in self.frozen_images:
            encode = method.consume if method.consumes == "features" else None
            self.frozen_images[key] = encoded_images(method, dataset, items, self.looking, encode)
        return image_features(method.eval(), self.frozen_images[key]).float()

    def identity(self) -> str:
        """Hash of all that decides a training from here, so that checkpoints of another one are left alone."""
        start = {name: tensor.cpu().contiguous() for name, tensor in sorted(self.method.learnt_state().items())}
        listed = self.dataset.split.train
        facts = [
            repr(replace(self.request.settings, checkpoint=CheckpointConfig())),
            said(cast(DataclassInstance, self.request.settings.objective_options)),
            self.backbone.weights_hash,
            files_hash(self.pairs.image_root, listed),
            [[item.path, item.captions, item.group] for item in self.pairs.train],
            [self.request.seed, self.request.piece, self.team.count],
            hashlib.sha256(safetensors.torch.save(start)).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _facts(self, result: TuneResult) -> TrainingFacts:
        settings = self.request.settings
        note = (
            f"Trained with {settings.objective} on {result.pairs['train']} images with captions; recall@1 on "
            f"{result.pairs['test']} test images: text to image {result.after.text_to_image.recall[1]:.1f} % (before "
            f"{result.before.text_to_image.recall[1]:.1f} %), image to text {result.after.image_to_text.recall[1]:.1f} "
            f"% (before {result.before.image_to_text.recall[1]:.1f} %). Place on the line of WiSE-FT: {result.alpha:g}."
        )
        return TrainingFacts(
            self.pairs.name,
            0,
            seed=self.request.seed,
            epochs=len(result.losses),
            notes=(note,),
            pairs=result.pairs["train"],
        )
