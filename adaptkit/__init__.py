"""adaptkit: prompt learning and efficient adaptation of frozen CLIP models, as plugins.

The names are imported when they are first asked for, because most of them need torch, and reading a file or a record
does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from adaptkit.version import VERSION

if TYPE_CHECKING:
    from adaptkit import fdt, features, heads, objectives, prompts, test_time, texts, weights, wrappers
    from adaptkit.artefacts.card import Metric, TrainingFacts
    from adaptkit.artefacts.config import ArtefactError
    from adaptkit.backbone.from_memory import as_backbone
    from adaptkit.backbone.frozen_clip import FrozenCLIP
    from adaptkit.backbone.loading import list_backbones, list_pretrained, load_backbone
    from adaptkit.backbone.preprocess import PreprocessConfig
    from adaptkit.backbone.test_views import TestViews
    from adaptkit.classes.class_set import ClassSet
    from adaptkit.classes.class_weights import class_weights
    from adaptkit.classes.templates import templates_for
    from adaptkit.contract.adapted_towers import AdaptedTowers
    from adaptkit.contract.batches import Examples, LabelledBatch, PairBatch
    from adaptkit.contract.creation import create_head, create_method, create_objective
    from adaptkit.contract.head import Head
    from adaptkit.contract.method import AdaptedCLIP, Support
    from adaptkit.contract.objective import Objective
    from adaptkit.contract.prediction import Prediction
    from adaptkit.contract.registry import (
        head_class,
        head_config,
        list_heads,
        list_methods,
        list_objectives,
        list_wrappers,
        method_class,
        method_config,
        objective_class,
        objective_config,
        register_head,
        register_method,
        register_objective,
        register_wrapper,
        wrapper_class,
        wrapper_config,
    )
    from adaptkit.contract.saved import load, load_head
    from adaptkit.contract.test_time import Episodic, Online, Transductive, list_test_time, register_test_time
    from adaptkit.contract.wrapper import MethodWrapper
    from adaptkit.deployment.official_checkpoints import import_official
    from adaptkit.front_door import Confusion, FitResult, MultiLabelFitResult, fit

__version__ = VERSION

_MODULES = {
    "AdaptedCLIP": "adaptkit.contract.method",
    "AdaptedTowers": "adaptkit.contract.adapted_towers",
    "ArtefactError": "adaptkit.artefacts.config",
    "ClassSet": "adaptkit.classes.class_set",
    "Confusion": "adaptkit.front_door",
    "Episodic": "adaptkit.contract.test_time",
    "Examples": "adaptkit.contract.batches",
    "FitResult": "adaptkit.front_door",
    "FrozenCLIP": "adaptkit.backbone.frozen_clip",
    "Head": "adaptkit.contract.head",
    "LabelledBatch": "adaptkit.contract.batches",
    "MethodWrapper": "adaptkit.contract.wrapper",
    "Metric": "adaptkit.artefacts.card",
    "MultiLabelFitResult": "adaptkit.front_door",
    "Objective": "adaptkit.contract.objective",
    "Online": "adaptkit.contract.test_time",
    "PairBatch": "adaptkit.contract.batches",
    "Prediction": "adaptkit.contract.prediction",
    "PreprocessConfig": "adaptkit.backbone.preprocess",
    "Support": "adaptkit.contract.method",
    "TestViews": "adaptkit.backbone.test_views",
    "TrainingFacts": "adaptkit.artefacts.card",
    "Transductive": "adaptkit.contract.test_time",
    "as_backbone": "adaptkit.backbone.from_memory",
    "class_weights": "adaptkit.classes.class_weights",
    "create_head": "adaptkit.contract.creation",
    "create_method": "adaptkit.contract.creation",
    "create_objective": "adaptkit.contract.creation",
    "fdt": "adaptkit.fdt",
    "features": "adaptkit.features",
    "fit": "adaptkit.front_door",
    "head_class": "adaptkit.contract.registry",
    "head_config": "adaptkit.contract.registry",
    "heads": "adaptkit.heads",
    "import_official": "adaptkit.deployment.official_checkpoints",
    "list_backbones": "adaptkit.backbone.loading",
    "list_heads": "adaptkit.contract.registry",
    "list_methods": "adaptkit.contract.registry",
    "list_objectives": "adaptkit.contract.registry",
    "list_pretrained": "adaptkit.backbone.loading",
    "list_test_time": "adaptkit.contract.test_time",
    "list_wrappers": "adaptkit.contract.registry",
    "load": "adaptkit.contract.saved",
    "load_backbone": "adaptkit.backbone.loading",
    "load_head": "adaptkit.contract.saved",
    "method_class": "adaptkit.contract.registry",
    "method_config": "adaptkit.contract.registry",
    "objective_class": "adaptkit.contract.registry",
    "objective_config": "adaptkit.contract.registry",
    "objectives": "adaptkit.objectives",
    "prompts": "adaptkit.prompts",
    "register_head": "adaptkit.contract.registry",
    "register_method": "adaptkit.contract.registry",
    "register_objective": "adaptkit.contract.registry",
    "register_test_time": "adaptkit.contract.test_time",
    "register_wrapper": "adaptkit.contract.registry",
    "templates_for": "adaptkit.classes.templates",
    "test_time": "adaptkit.test_time",
    "texts": "adaptkit.texts",
    "weights": "adaptkit.weights",
    "wrapper_class": "adaptkit.contract.registry",
    "wrapper_config": "adaptkit.contract.registry",
    "wrappers": "adaptkit.wrappers",
}

__all__ = [
    "AdaptedCLIP",
    "AdaptedTowers",
    "ArtefactError",
    "ClassSet",
    "Confusion",
    "Episodic",
    "Examples",
    "FitResult",
    "FrozenCLIP",
    "Head",
    "LabelledBatch",
    "MethodWrapper",
    "Metric",
    "MultiLabelFitResult",
    "Objective",
    "Online",
    "PairBatch",
    "Prediction",
    "PreprocessConfig",
    "Support",
    "TestViews",
    "TrainingFacts",
    "Transductive",
    "as_backbone",
    "class_weights",
    "create_head",
    "create_method",
    "create_objective",
    "fdt",
    "features",
    "fit",
    "head_class",
    "head_config",
    "heads",
    "import_official",
    "list_backbones",
    "list_heads",
    "list_methods",
    "list_objectives",
    "list_pretrained",
    "list_test_time",
    "list_wrappers",
    "load",
    "load_backbone",
    "load_head",
    "method_class",
    "method_config",
    "objective_class",
    "objective_config",
    "objectives",
    "prompts",
    "register_head",
    "register_method",
    "register_objective",
    "register_test_time",
    "register_wrapper",
    "templates_for",
    "test_time",
    "texts",
    "weights",
    "wrapper_class",
    "wrapper_config",
    "wrappers",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
