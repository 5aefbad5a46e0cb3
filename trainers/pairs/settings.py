"""Settings of a training on pairs: packaged recipes of the plugins, then ours for pairs, then the user's words."""

from collections.abc import Sequence
from dataclasses import dataclass

from adaptkit.backbone.loading import MINI
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.registry import (
    OBJECTIVES,
    list_wrappers,
    method_class,
    objective_class,
    wrapper_class,
)
from trainers.config.layers import from_node, make_schema, read_layer, resolve
from trainers.config.overrides import nested, words_as_settings
from trainers.config.recipes import recipe_layer
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig, ViewConfig
from trainers.config.values import ConfigError, check_name
from trainers.fit.defaults import embedded_settings

SECTIONS = ("OPTIM", "VIEWS", "CHECKPOINT")  # which may be set, beside those of the plugins
# AdamW behind a warm-up, at a rate for low-rank updates and prompts; crops that keep what captions speak of.
DEFAULTS: dict[str, object] = {
    "OPTIM.NAME": "adamw",
    "OPTIM.LR": 2e-3,
    "OPTIM.WEIGHT_DECAY": 0.01,
    "OPTIM.EPOCHS": 10,
    "OPTIM.BATCH_SIZE": 128,
    "OPTIM.LR_SCHEDULER": "cosine_steps",
    "OPTIM.WARMUP_SHARE": 0.1,
    "OPTIM.CLIP_NORM": 1.0,
    "VIEWS.MIN_AREA": 0.8,
}


@dataclass(frozen=True)
class PairSettings:
    """What is trained, and how."""

    method: str
    options: object  # the method's, as its dataclass
    wrap: tuple[tuple[str, object], ...]
    objective: str
    objective_options: object
    optim: OptimConfig
    views: ViewConfig
    checkpoint: CheckpointConfig


def pair_objectives() -> list[str]:
    """Names of the objectives that are trained on pairs."""
    return [name for name in OBJECTIVES.names() if objective_class(name).takes is PairBatch]


def pair_settings(
    method: str, wrap: Sequence[str], objective: str, words: Sequence[str], backbone: str = MINI
) -> PairSettings:
    """Resolve the settings of one training.

    Args:
        words: KEY VALUE KEY VALUE ..., as a user writes them.
        backbone: the embedded one has short contexts, and so options of its own for some methods.

    Raises:
        ConfigError: names the key, the value and the nearest valid names.
    """
    check_name("--objective", objective, pair_objectives())
    for wrapper in wrap:
        check_name("--wrap", wrapper, list_wrappers())
    schema = make_schema()
    users = nested(words_as_settings(words))
    plugins = [name.upper() for name in (method, *wrap, objective)]
    for key in users:
        if key not in (*SECTIONS, *plugins):
            raise ConfigError(
                f"{key} takes no part in a training on pairs; settable are {', '.join([*SECTIONS, *plugins])}"
            )
    recipes = [
        recipe_layer("methods", method, method_class(method).__module__, schema),
        *(recipe_layer("wrappers", name, wrapper_class(name).__module__, schema) for name in wrap),
        recipe_layer("objectives", objective, objective_class(objective).__module__, schema),
    ]
    ours = read_layer(nested(DEFAULTS), "of trainings on pairs", schema)
    theirs = read_layer(users, "on the command line", schema)
    training = resolve([ours, theirs], {}, schema)  # Recipes of few-shot training say nothing of pairs.
    short = {key: value for key, value in embedded_settings(method).items() if key.startswith(f"{method.upper()}.")}
    embedded = read_layer(nested(short if backbone == MINI else {}), "of the embedded suite", schema)
    plugin = resolve([*recipes, embedded, theirs], {"METHOD": method}, schema)

    def options(name: str) -> object:
        return from_node(schema[name.upper()], plugin[name.upper()], name.upper())

    return PairSettings(
        method,
        options(method),
        tuple((name, options(name)) for name in wrap),
        objective,
        options(objective),
        from_node(OptimConfig, training.OPTIM, "OPTIM"),
        from_node(ViewConfig, training.VIEWS, "VIEWS"),
        from_node(CheckpointConfig, training.CHECKPOINT, "CHECKPOINT"),
    )
