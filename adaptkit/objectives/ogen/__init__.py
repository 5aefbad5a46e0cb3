"""OGEN: an objective that trains prompt learners on generated image features of classes without images."""

from adaptkit.objectives.ogen.config import OGENConfig
from adaptkit.objectives.ogen.generator import Generator
from adaptkit.objectives.ogen.ogen import OGEN
from adaptkit.objectives.ogen.passes import Given, Made, agreement, make, nearest_new, reconstruction
from adaptkit.objectives.ogen.statistics import class_statistics, draw_noise, features_of_known, nearest_classes
from adaptkit.objectives.ogen.teacher import Teacher, average_of_ends, window_length

__all__ = [
    "OGEN",
    "Generator",
    "Given",
    "Made",
    "OGENConfig",
    "Teacher",
    "agreement",
    "average_of_ends",
    "class_statistics",
    "draw_noise",
    "features_of_known",
    "make",
    "nearest_classes",
    "nearest_new",
    "reconstruction",
    "window_length",
]
