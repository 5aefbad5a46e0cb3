"""adaptkit: prompt learning and efficient adaptation of frozen CLIP models, as plugins."""

from adaptkit import fdt, features, objectives, prompts, weights, wrappers
from adaptkit.artefacts.card import Metric, TrainingFacts
from adaptkit.artefacts.config import ArtefactError
from adaptkit.backbone.from_memory import as_backbone
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import list_backbones, list_pretrained, load_backbone
from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.classes.templates import templates_for
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import LabelledBatch, PairBatch
from adaptkit.contract.creation import create_method, create_objective
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.objective import Objective
from adaptkit.contract.prediction import Prediction
from adaptkit.contract.registry import (
    list_methods,
    list_objectives,
    list_wrappers,
    method_class,
    method_config,
    objective_class,
    objective_config,
    register_method,
    register_objective,
    register_wrapper,
    wrapper_class,
    wrapper_config,
)
from adaptkit.contract.saved import load
from adaptkit.contract.wrapper import MethodWrapper
from adaptkit.deployment.official_checkpoints import import_official
from adaptkit.front_door import Confusion, FitResult, fit
from adaptkit.version import VERSION

__version__ = VERSION

__all__ = [
    "AdaptedCLIP",
    "AdaptedTowers",
    "ArtefactError",
    "ClassSet",
    "Confusion",
    "FitResult",
    "FrozenCLIP",
    "LabelledBatch",
    "MethodWrapper",
    "Metric",
    "Objective",
    "PairBatch",
    "Prediction",
    "PreprocessConfig",
    "Support",
    "TrainingFacts",
    "as_backbone",
    "class_weights",
    "create_method",
    "create_objective",
    "fdt",
    "features",
    "fit",
    "import_official",
    "list_backbones",
    "list_methods",
    "list_objectives",
    "list_pretrained",
    "list_wrappers",
    "load",
    "load_backbone",
    "method_class",
    "method_config",
    "objective_class",
    "objective_config",
    "objectives",
    "prompts",
    "register_method",
    "register_objective",
    "register_wrapper",
    "templates_for",
    "weights",
    "wrapper_class",
    "wrapper_config",
    "wrappers",
]
