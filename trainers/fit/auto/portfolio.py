"""The candidates of a search: methods with a few settings, cheapest first, from configs/auto.yaml and plugins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, cast, get_args

from adaptkit import list_methods, method_class
from trainers.config.files import FOLDER, parse_yaml
from trainers.config.values import ConfigError, check_name
from trainers.runs.start import ZERO_SHOT

Tier = Literal["training_free", "features", "prompts", "images"]
TIERS: tuple[Tier, ...] = get_args(Tier)  # by rising cost
STEPS = "OPTIM.STEPS"
FILE = "auto.yaml"
KNOWN = frozenset({"METHOD", "TIER", "SET", "TRY", "RATES", "LENGTH"})


@dataclass(frozen=True)
class Candidate:
    """One method with its settings; how long it trains follows from the data."""

    method: str
    tier: Tier
    settings: Mapping[str, object] = field(default_factory=dict)  # KEY -> value, over the method's recipe
    rate: float = 1.0  # multiple of the recipe's OPTIM.LR
    length: str | None = None  # the setting that says how long a fit is; None where nothing can be cut short

    @property
    def label(self) -> str:
        """The method and what tells it from other candidates of the method, such as "taskres, rate x10"."""
        words = [f"{key.rpartition('.')[2].lower()} {value}" for key, value in self.settings.items() if value != 0]
        if self.rate != 1.0:
            words.append(f"rate x{self.rate:g}")
        return ", ".join((self.method, *words))


@dataclass(frozen=True)
class Portfolio:
    """Candidates in the order of their cost, and the methods to take where nothing can be compared."""

    candidates: tuple[Candidate, ...]
    prior: tuple[str, ...]

    def named(self, names: Sequence[str]) -> "Portfolio":
        """The candidates of these methods; a method that the file does not list is one candidate with its recipe.

        Raises:
            ConfigError: if a name is no method, or none of them is more than zero-shot.
        """
        for name in names:
            check_name("--candidates", name, list_methods())
        wanted = [name for name in dict.fromkeys(names) if name != ZERO_SHOT]
        if not wanted:
            raise ConfigError("--candidates names zero_shot alone, which every search compares with; name one more")
        listed = {candidate.method for candidate in self.candidates}
        found = [candidate for candidate in self.candidates if candidate.method in wanted]
        found += [_by_recipe(name) for name in wanted if name not in listed]
        prior = [name for name in self.prior if name in wanted] or [found[0].method]
        return Portfolio(tuple(sorted(found, key=lambda one: TIERS.index(one.tier))), tuple(prior))


def read_portfolio() -> Portfolio:
    """The candidates of configs/auto.yaml.

    Raises:
        ConfigError: if an entry has an unknown key, method or tier.
    """
    content = parse_yaml((FOLDER / FILE).read_text(encoding="utf-8"), f"configs/{FILE}")
    entries = cast("list[dict[str, object]]", content["CANDIDATES"])
    candidates = tuple(candidate for entry in entries for candidate in _candidates(entry))
    return Portfolio(candidates, tuple(cast("list[str]", content["PRIOR"])))


def _candidates(entry: Mapping[str, object]) -> list[Candidate]:
    """Every combination of an entry's values, the rates running first."""
    if unknown := sorted(entry.keys() - KNOWN):
        raise ConfigError(f"configs/{FILE} has the key {unknown[0]}; expected some of {', '.join(sorted(KNOWN))}")
    method, tier = str(entry["METHOD"]), str(entry["TIER"])
    check_name("METHOD", method, list_methods())
    check_name("TIER", tier, TIERS)
    fixed = cast("Mapping[str, object]", entry.get("SET", {}))
    tried = cast("Mapping[str, list[object]]", entry.get("TRY", {}))
    rates = cast("list[float]", entry.get("RATES", [1.0]))
    length = cast("str | None", entry.get("LENGTH"))
    return [
        Candidate(method, cast(Tier, tier), {**fixed, **dict(zip(tried, values, strict=True))}, rate, length)
        for values in product(*tried.values())
        for rate in rates
    ]


def _by_recipe(name: str) -> Candidate:
    """A method that the file does not know, by what it consumes and whether it is fitted at once."""
    made = method_class(name)
    consumes = getattr(made, "consumes", "images")  # of some it depends on their options, which may ask for images
    tier: Tier = "features" if consumes in ("features", "tokens") else "images"
    fitted_at_once = bool(getattr(made, "prepares_again", False))
    return Candidate(name, "training_free" if fitted_at_once else tier, length=None if fitted_at_once else STEPS)
