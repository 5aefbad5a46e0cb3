"""The options of OGEN."""

from typing import Literal

from adaptkit.layers.image_texts import texts_file
from adaptkit.objectives.ogen.statistics import Noise
from adaptkit.options import option, options


@options
class OGENConfig:
    unknown_names: Literal["held_out_base", "file", "dataset_new"] = option(
        "held_out_base",
        "Names without images: a random half of the training's classes in every step, those of a file, or the names of "
        "the classes that are tested and not learnt, as released; the last is told beside every number.",
    )
    names: str = option("", "File of class names, one in a line, for unknown_names file.", file=texts_file)
    names_per_step: int = option(0, "Names of a file or of the tests that a step draws; 0 takes all.", least=0)
    neighbours: int = option(3, "Nearest classes k, and nearest unknown names, of each image.", least=1)
    heads: int = option(4, "Attention heads of the generator.", least=1)
    dropout: float = option(0.1, "Dropout of the generator's attention.", least=0, below=1)
    noise: Noise = option(
        "gaussian", "Noise on the features of known classes: normal, or uniform in [0, 1) and one draw for all."
    )
    warmup: float = option(
        0.2, "Share of the training, in whole epochs, in which the generator learns alone.", least=0, most=1
    )
    rec_factor: float = option(
        0.0, "Factor of the mean squared errors; 0 for the joint width D, and 512 as released.", least=0
    )
    own_weight: float = option(0.25, "Weight of the inner loss, such as the method's own.", least=0)
    unknown_weight: float = option(0.25, "Weight of classifying a class that is made of its neighbours.", least=0)
    known_weight: float = option(0.25, "Weight, over k, of classifying neighbours that are made of a class.", least=0)
    new_weight: float = option(0.5, "Weight, over k, of classifying unknown names that are made of a class.", least=0)
    teacher_weight: float = option(1.0, "Weight of the gap to the teacher; 0, as released, has no teacher.", least=0)
    window_least: int = option(2, "Epochs that the teacher averages at the start of the training.", least=1)
    window_most: int = option(9, "Epochs that the teacher averages at the end of the training.", least=1)
    decay: float = option(0.9, "Share of the teacher's average that each later epoch leaves.", least=0, below=1)

    def __post_init__(self) -> None:
        if (self.unknown_names == "file") != bool(self.names):
            raise ValueError(
                f"unknown_names={self.unknown_names!r} and names={self.names!r}; give names as a file for "
                'unknown_names="file", and only there'
            )
        if self.window_least > self.window_most:
            raise ValueError(f"window_least={self.window_least} is more than window_most={self.window_most}")
