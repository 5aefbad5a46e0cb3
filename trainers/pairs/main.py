"""One training on image-text pairs, from the data to a saved and judged adapter: what `adaptkit tune` calls."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, TrainingFacts, create_method, create_objective, load_backbone
from adaptkit.artefacts.atomic_file import is_half_written
from adaptkit.artefacts.files import CONFIG_FILE
from adaptkit.backbone.devices import choose_device
from adaptkit.classes.templates import templates_for
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import PairObjective, TrainedOnPairs, learning_sides, room_for_text
from datasets_fewshot import FewShotDataset, Item, files_hash
from datasets_fewshot.pairs.load import load_pairs
from trainers.compute.precision import choose_precision, choose_threads
from trainers.compute.seeds import derived_seed, seeded
from trainers.compute.team import ALONE, Team
from trainers.config.settings import CheckpointConfig
from trainers.config.training import ViewConfig
from trainers.evaluation.retrieval import PairScores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import PairBatches, as_dataset, captions_of
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.diagnosis.tested import judged_on
from trainers.pairs.judging import Guard, Looking, PairTest, encoded_images, encoded_texts
from trainers.pairs.line import ALPHAS, Place, choose, put_on_line
from trainers.pairs.report import in_words, write_summary
from trainers.pairs.result import TuneRequest, TuneResult
from trainers.pairs.training import PairTraining, train_on_pairs
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
    return _Tuning(request, team).run(tell, started)


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


class _Tuning:
    """The parts of one training."""

    def __init__(self, request: TuneRequest, team: Team):
        self.request, self.team = request, team
        self.pairs = load_pairs(
            request.data,
            image_column=request.image_column,
            caption_column=request.caption_column,
            group_column=request.group_column,
        )
        self._check()
        device = choose_device(request.device)
        self.backbone = load_backbone(request.backbone, request.pretrained, request.checkpoint, device=device)
        if device.type == "cpu":
            torch.set_num_threads(choose_threads(0, sum(t.numel() for t in self.backbone.model.parameters())))
        self.looking = Looking(choose_precision("auto", device), request.workers, KeptPixels())
        self.dataset = as_dataset(self.pairs)
        self.method = self._method()
        self.frozen_images: dict[tuple[str, tuple[Item, ...]], Tensor] = {}
        tokenizer, room = self.backbone.tokenizer, room_for_text(self.method)
        self.captions = {part: captions_of(getattr(self.pairs, part), tokenizer, room) for part in PARTS}
        self.tests = {
            part: PairTest(self.dataset, getattr(self.dataset.split, part), self.captions[part]) for part in PARTS
        }
        self.guard = None
        if request.guard is not None:
            self.guard = Guard(request.guard, templates_for(request.guard.name))

    def run(self, tell: Callable[[str], None], started: float) -> TuneResult | None:
        """Train, choose, judge and save."""
        settings, team, method = self.request.settings, self.team, self.method
        plain = create_method("zero_shot", self.backbone, None)
        before, before_guard = self._judged(plain, "test")
        least = self._judged(plain, "val")[1]
        tell(f"before: {in_words(before, before_guard)}")

        def on_epoch(epoch: int, loss: float) -> None:
            if team.leads:
                tell(f"epoch {epoch}: loss {loss:.3f}, validation: {in_words(*self._judged(method, 'val'))}")

        start = method.learnt_state()
        objective = create_objective(method, [(settings.objective, settings.objective_options)])
        assert isinstance(objective, PairObjective)
        pieces = Pieces(self.request.piece, derived_seed("pairs", self.request.seed), self.looking.precision, team)
        losses = train_on_pairs(
            TrainedOnPairs(method, objective),
            self._batches(),
            PairTraining(settings.optim, pieces),
            Checkpoints(self.request.out, self._identity(), settings.checkpoint),
            on_epoch,
        )
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

    def _batches(self) -> PairBatches:
        """The training batches, with the features of a side that does not learn."""
        listed, captions, views = self.pairs.train, self.captions["train"], self.request.settings.views
        learns_images, learns_texts = self.learns
        names = {name: place for place, name in enumerate(dict.fromkeys(item.group for item in listed))}
        images = texts = None
        if not learns_images:
            images = encoded_images(self.method, self.dataset, self.dataset.split.train, self.looking)
            views = ViewConfig("none")
        if not learns_texts:
            texts = encoded_texts(self.method, captions.texts, self.looking.precision)
        return PairBatches(
            self.dataset,
            captions,
            torch.tensor([names[item.group] for item in listed]),
            self.backbone.preprocess_cfg,
            views,
            min(self.request.settings.optim.batch_size, len(listed)),
            self.request.seed,
            self.request.workers,
            self.looking.kept,
            images,
            texts,
            self.team,
        )

    def _judged(self, method: AdaptedTowers, part: Literal["val", "test"]) -> tuple[PairScores, float | None]:
        """Scores on the pairs of a part, and accuracy on the guard's images of the same part."""
        test, guard = self.tests[part], self.guard
        scores = test.scores(method, self._images(method, test.dataset, test.items), self.looking)
        if guard is None:
            return scores, None
        images = self._images(method, guard.dataset, guard.items(part))
        return scores, guard.accuracy(method, part, images, self.looking)

    def _images(self, method: AdaptedTowers, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """Features (N, D) of images; those of a side that does not learn are encoded once."""
        if method is not self.method or self.learns[0]:
            return encoded_images(method, dataset, items, self.looking)
        key = (dataset.name, tuple(items))
        if key not in self.frozen_images:
            self.frozen_images[key] = encoded_images(method, dataset, items, self.looking)
        return self.frozen_images[key]

    def _identity(self) -> str:
        """Hash of all that decides the training, so that checkpoints of another one are left alone."""
        listed = self.dataset.split.train
        facts = [
            repr(replace(self.request.settings, checkpoint=CheckpointConfig())),
            self.backbone.weights_hash,
            files_hash(self.pairs.image_root, listed),
            [[item.path, item.captions, item.group] for item in self.pairs.train],
            [self.request.seed, self.request.piece, self.team.count],
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
