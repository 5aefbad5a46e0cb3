"""A continual training, from phases to judged adapters: what `adaptkit continual` calls."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from adaptkit import TrainingFacts, create_method
from adaptkit.artefacts.atomic_file import is_half_written
from datasets_fewshot import files_hash
from trainers.pairs.continual.judging import DomainFeatures, drift_between, features_of, scores_of
from trainers.pairs.continual.phase_files import FINAL, finished, learnt_in, write_phase
from trainers.pairs.continual.phases import Phase, together
from trainers.pairs.continual.report import SUMMARY_FILE, TEXT_FILE, row_in_words, write_summary
from trainers.pairs.continual.result import ContinualRequest, ContinualResult, Outcome
from trainers.pairs.continual.strategies import STRATEGIES, Strategy
from trainers.pairs.line import put_on_line
from trainers.pairs.main import Tuning, backbone_for

Tell = Callable[[str], None]


def continual(request: ContinualRequest, tell: Tell) -> ContinualResult:
    """Train each strategy phase after phase, judge all domains after each, and save every adapter.

    Phases that were finished by an earlier call are read and not computed again; one that was interrupted goes on.

    Raises:
        ValueError: if the data, the method or the objectives cannot be trained together, or the folder holds something
            else or a run that was asked for otherwise.
        ArithmeticError: if a loss is not finite.
    """
    _check_folder(request.tune.out)
    return _Continual(request).run(tell)


def _check_folder(folder: Path) -> None:
    known = {*STRATEGIES, SUMMARY_FILE, TEXT_FILE}
    if folder.is_file():
        raise ValueError(f"--out {str(folder)!r} is a file; give a folder")
    others = [
        entry.name
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if entry.name not in known and not is_half_written(entry)
    ]
    if others:
        raise ValueError(f"--out {str(folder)!r} holds {others[0]!r} and no continual training; give another folder")


class _Continual:
    """The domains, and what all strategies have in common."""

    def __init__(self, request: ContinualRequest):
        self.request = request
        self.backbone = backbone_for(request.tune)
        settings = next(iter(request.settings.values()))

        def tuning(phase: Phase) -> Tuning:
            own = replace(request.tune, data=phase.name, settings=settings)
            return Tuning(own, pairs=phase.pairs, backbone=self.backbone)

        self.domains = [tuning(phase) for phase in request.phases]
        self.joint = [tuning(Phase("all phases", together(request.phases)))] if "joint" in request.settings else []
        self.tested = self._tested()

    def run(self, tell: Tell) -> ContinualResult:
        """Train, judge and save everything."""
        plain = create_method("zero_shot", self.backbone, None)
        features = features_of(plain, self.domains)
        guard = self.domains[0].guarded(plain, "test")
        before = Outcome("zero-shot", scores_of(features, self.domains), guard)
        tell(f"zero-shot: {row_in_words(before)}")
        done = {name: self._strategy(name, features, tell) for name in self.request.settings}
        result = ContinualResult(tuple(phase.name for phase in self.request.phases), before, done)
        write_summary(result, self.request)
        return result

    def _strategy(self, name: str, zero_shot: list[DomainFeatures], tell: Tell) -> tuple[Outcome, ...]:
        """The outcomes of a strategy's phases."""
        strategy, folder = STRATEGIES[name], self.request.tune.out / name
        trained: Sequence[Tuning] = {"in turn": self.domains, "at once": self.joint, "nothing": ()}[strategy.trains]
        start: Mapping[str, Tensor] | None = None
        before: list[DomainFeatures] | None = zero_shot
        outcomes = []
        for number, domain in enumerate(trained, start=1):
            own = folder / f"phase_{number}"
            phase = domain.anew(self.request.settings[name], own, start)
            identity = self._identity(phase, strategy)
            outcome = finished(own, identity)
            if outcome is not None:
                start, before = learnt_in(own, self.backbone), None
            else:
                if before is None:  # the phases before were finished by an earlier call
                    before = features_of(phase.method, self.domains)
                outcome, before = self._phase(phase, strategy, before, f"{name}, {domain.request.data}", tell)
                write_phase(own, identity, outcome, phase.method, self._facts(phase, name, number))
                start = phase.method.learnt_state()
            tell(f"{name}, after {domain.request.data}: {row_in_words(outcome)}")
            outcomes.append(outcome)
            if number == len(trained):
                phase.method.load_learnt_state(dict(start))
                phase.method.save_pretrained(folder / FINAL, self._facts(phase, name, number))
        return tuple(outcomes)

    def _phase(
        self, phase: Tuning, strategy: Strategy, before: list[DomainFeatures], called: str, tell: Tell
    ) -> tuple[Outcome, list[DomainFeatures]]:
        """Train one phase and judge it; the features are those of what it ends with."""
        began, method, start = time.monotonic(), phase.method, phase.method.learnt_state()
        losses = phase.train(lambda epoch, loss: tell(f"{called}, epoch {epoch}: loss {loss:.3f}"))
        if strategy.share < 1:
            put_on_line(method, start, method.learnt_state(), strategy.share)
        method.eval()
        after = features_of(method, self.domains)
        outcome = Outcome(
            str(phase.request.data),
            scores_of(after, self.domains),
            self.domains[0].guarded(method, "test"),
            losses,
            drift_between(before, after, self.domains),
            time.monotonic() - began,
        )
        return outcome, after

    def _tested(self) -> str:
        """Hash of what every phase is tested on."""
        facts = [
            [
                phase.name,
                files_hash(phase.pairs.image_root, domain.dataset.split.test),
                [[item.path, item.captions] for item in phase.pairs.test],
            ]
            for phase, domain in zip(self.request.phases, self.domains, strict=True)
        ]
        guard = self.request.tune.guard
        return hashlib.sha256(json.dumps([facts, guard and guard.name]).encode()).hexdigest()

    def _identity(self, phase: Tuning, strategy: Strategy) -> str:
        """Hash of all that decides a phase and what it is worth; the phases before it are in the learnt tensors."""
        return hashlib.sha256(json.dumps([phase.identity(), strategy.share, self.tested]).encode()).hexdigest()

    def _facts(self, phase: Tuning, name: str, number: int) -> TrainingFacts:
        note = f"Phase {number} of a continual training by {name}, on {phase.request.data}."
        count, seed = len(phase.pairs.train), self.request.tune.seed
        return TrainingFacts(phase.pairs.name, 0, seed=seed, notes=(note,), pairs=count)
