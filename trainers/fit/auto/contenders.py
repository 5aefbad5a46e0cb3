"""Candidates on the user's data: the settings of each in full, how long it would train, and which cannot take part."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from adaptkit import list_methods
from adaptkit.artefacts.atomic_file import Json
from adaptkit.contract.method import Consumes
from trainers.bench.plan import probe
from trainers.config.load import load_bench
from trainers.config.overrides import words_as_settings
from trainers.config.settings import RunConfig
from trainers.config.values import ConfigError
from trainers.feeding.views import batch_bounds
from trainers.fit.auto.portfolio import STEPS, Candidate
from trainers.fit.defaults import embedded_settings, size_settings
from trainers.runs.data import Bench
from trainers.runs.identity import Needs, said
from trainers.training.replicas import OWN_SETTINGS

SHORT = {  # rungs are shorter than recipes, whose warm-up is counted in epochs: a rate by steps behind a short rise
    "OPTIM.EPOCHS": 0,
    "OPTIM.LR_SCHEDULER": "cosine_steps",
    "OPTIM.WARMUP_EPOCHS": 0,
    "OPTIM.WARMUP_SHARE": 0.05,
}
OWN_KEYS = frozenset(f"OPTIM.{name.upper()}" for name in OWN_SETTINGS)
MOST_ROWS = 1000  # classes times replicas whose prompts are encoded side by side
CHOSEN_HERE = ("OPTIM", "VIEWS", "METHODS", "WRAP", "OBJECTIVE", "SHOTS", "SEEDS", "PROTOCOL", "DATASETS", "SELECTION")


@dataclass(frozen=True)
class Contender:
    """A candidate with every setting that differs from its recipe."""

    place: int  # in the order of cost
    candidate: Candidate
    settings: Mapping[str, object]  # KEY -> value, all but the length
    full: int  # steps or iterations of a whole training; 0 where nothing can be cut short
    consumes: Consumes
    given: Mapping[str, object] = field(repr=False)  # settings of the bench
    overrides: tuple[str, ...] = field(repr=False)  # by the user

    @property
    def label(self) -> str:
        """The candidate's."""
        return self.candidate.label

    def at(self, length: int) -> dict[str, object]:
        """All settings of a training of this length."""
        key = self.candidate.length
        return {**self.settings, **({key: length} if key else {})}

    def config(self, length: int) -> RunConfig:
        """The run of a training of this length."""
        fixed = {**self.given, "METHODS": [self.candidate.method], **self.at(length)}
        return load_bench(None, self.overrides, fixed).runs[-1]

    def words(self) -> tuple[str, ...]:
        """The whole training as KEY, VALUE, KEY, VALUE, for `adaptkit train`."""
        return tuple(word for key, value in self.at(self.full).items() for word in (key, _written(value)))

    def facts(self, length: int) -> Json:
        """What decides a training of this length besides its images, as JSON."""
        config = self.config(length)
        optim, views = dataclasses.asdict(config.optim), dataclasses.asdict(config.views)
        texts: list[Json] = [dataclasses.asdict(one) for one in (config.texts.classes if config.texts else ())]
        own = said(config.options)
        return [config.method, own, optim, views, list(config.templates), config.shots, config.seed, *texts]

    @cached_property
    def side_by_side(self) -> tuple[str, ...] | None:
        """What contenders that train in one loop have in common; None for one that trains alone."""
        if self.candidate.tier not in ("features", "prompts") or self.candidate.length != STEPS:
            return None
        shared = sorted(f"{key} {value}" for key, value in self.settings.items() if key not in OWN_KEYS)
        return (self.candidate.method, *shared)


def in_loops(contenders: Sequence[Contender], classes: int) -> list[tuple[Contender, ...]]:
    """Contenders that train in one loop together, in the order of the first of each."""
    loops: list[list[Contender]] = []
    for one in contenders:
        most = max(1, MOST_ROWS // classes) if one.candidate.tier == "prompts" else len(contenders)
        for loop in loops:
            if one.side_by_side is not None and loop[0].side_by_side == one.side_by_side and len(loop) < most:
                loop.append(one)
                break
        else:
            loops.append([one])
    return [tuple(loop) for loop in loops]


def check_overrides(overrides: Sequence[str]) -> None:
    """Check that the user sets nothing that is for the search to choose.

    Raises:
        ConfigError: names the first key that is.
    """
    chosen = {*CHOSEN_HERE, *(name.upper() for name in list_methods())}
    for key in words_as_settings(overrides):
        if key.upper().partition(".")[0] in chosen:
            raise ConfigError(
                f"{key} is set, and auto chooses methods and their settings itself; leave it out, or train one method "
                "with it: adaptkit train METHOD"
            )


def make_contenders(
    candidates: Sequence[Candidate],
    given: Mapping[str, object],
    overrides: Sequence[str],
    embedded: bool,
    bench: Bench,
    classnames: Sequence[str],
    images: int,
) -> tuple[list[Contender], dict[str, str]]:
    """Candidates with their settings, and those that cannot take part -> the reason.

    Args:
        embedded: whether the backbone is the embedded one, for which settings are tuned.
        images: N that a whole training learns from.
    """
    names = tuple(sorted(classnames, key=lambda name: len(bench.backbone.tokenizer.words(name)))[-2:])
    found: list[Contender] = []
    left_out: dict[str, str] = {}
    for place, candidate in enumerate(candidates):
        made = _contender(place, candidate, given, tuple(overrides), embedded, bench, names, images)
        if isinstance(made, str):
            left_out[candidate.label] = made
        else:
            found.append(made)
    return found, left_out


def _contender(
    place: int,
    candidate: Candidate,
    given: Mapping[str, object],
    overrides: tuple[str, ...],
    embedded: bool,
    bench: Bench,
    names: tuple[str, ...],
    images: int,
) -> Contender | str:
    """A candidate with its settings, or the reason why it cannot take part."""
    settings = dict(embedded_settings(candidate.method)) if embedded else {}
    settings |= candidate.settings

    def run_with(settings: Mapping[str, object]) -> RunConfig:
        return load_bench(None, overrides, {**given, "METHODS": [candidate.method], **settings}).runs[-1]

    try:
        run = run_with(settings)
    except ValueError as error:
        return str(error)
    needs = probe(run, bench, names)
    if isinstance(needs, str):
        return needs
    if (why := _why_not_compared(needs)) is not None:
        return why
    if needs.consumes != "images":
        settings["VIEWS.AUGMENT"] = "none"  # each image is encoded once
        run = run_with(settings)
    if candidate.length != STEPS:
        full = _option(run, candidate.length) if candidate.length else 0
        return Contender(place, candidate, settings, full, needs.consumes, given, overrides)
    sized = {**settings, **size_settings(run, images, needs.consumes)}
    optim = run_with(sized).optim
    if not optim.takes_steps:
        candidate = dataclasses.replace(candidate, length=None)
        return Contender(place, candidate, settings, 0, needs.consumes, given, overrides)
    full = optim.step_count(len(batch_bounds(images, optim.batch_size, optim.drop_last)))
    counted = {key: value for key, value in sized.items() if not key.startswith(("OPTIM.EPOCHS", STEPS, "VIEWS."))}
    views = {"VIEWS.AUGMENT": settings["VIEWS.AUGMENT"]} if "VIEWS.AUGMENT" in settings else {}
    rate = {"OPTIM.LR": float(f"{optim.lr * candidate.rate:.4g}")}
    return Contender(place, candidate, {**counted, **views, **SHORT, **rate}, full, needs.consumes, given, overrides)


def _why_not_compared(needs: Needs) -> str | None:
    """Why folds cannot judge a method; None if they can."""
    if needs.sees is not None:
        return "it looks at other test images as well, and auto compares methods that answer one image at a time"
    if not needs.training:
        return "it learns nothing of images, so no fold can judge what it would learn"
    return None


def _option(run: RunConfig, key: str) -> int:
    """The value of a method's option, such as LP_PLUS_PLUS.ITERATIONS."""
    return int(getattr(run.options, key.partition(".")[2].lower()))


def _written(value: object) -> str:
    """A setting as a user would write it."""
    return "null" if value is None else str(list(value) if isinstance(value, tuple) else value)
