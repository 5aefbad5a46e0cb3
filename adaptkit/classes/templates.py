"""The hand-written templates, keyed by data set; no other module has any.

These are the templates of CoOp's zero-shot baseline (Zhou et al., arXiv:2109.01134, released code), and the seven that
CLIP's authors selected for ImageNet; other codebases' deviations are options of their methods.
"""

DEFAULT_TEMPLATE = "a photo of a {}."

IMAGENET_SELECTED: tuple[str, ...] = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

DATASET_TEMPLATES: dict[str, tuple[str, ...]] = {
    "oxford_pets": ("a photo of a {}, a type of pet.",),
    "oxford_flowers": ("a photo of a {}, a type of flower.",),
    "fgvc_aircraft": ("a photo of a {}, a type of aircraft.",),
    "dtd": ("{} texture.",),
    "eurosat": ("a centered satellite photo of {}.",),
    "food101": ("a photo of {}, a type of food.",),
    "ucf101": ("a photo of a person doing {}.",),
}


def templates_for(dataset: str) -> tuple[str, ...]:
    """Templates of a data set, or the default one if it has none of its own.

    Example:
        ```python
        print(adaptkit.templates_for("oxford_pets"))  # ('a photo of a {}, a type of pet.',)
        ```
    """
    return DATASET_TEMPLATES.get(dataset, (DEFAULT_TEMPLATE,))
