"""GIST: an objective of matched captions, the way to match them, and the probe behind the tuning."""

from adaptkit.objectives.gist.gist import GIST, GISTConfig
from adaptkit.objectives.gist.matching import (
    Matches,
    captions_of_classes,
    class_key,
    encode_captions,
    match,
    match_files,
    training_texts,
)
from adaptkit.objectives.gist.probe import Bootstrap, Probe, bootstrap, fit_logistic_probe, fit_sgd_probe, in_top
from adaptkit.objectives.gist.tuning import contrastive_loss, recorded_optimizer

__all__ = [
    "GIST",
    "Bootstrap",
    "GISTConfig",
    "Matches",
    "Probe",
    "bootstrap",
    "captions_of_classes",
    "class_key",
    "contrastive_loss",
    "encode_captions",
    "fit_logistic_probe",
    "fit_sgd_probe",
    "in_top",
    "match",
    "match_files",
    "recorded_optimizer",
    "training_texts",
]
