"""The options of the in-context classifier, and the file of a meta-model that they name."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

from adaptkit.options import option, options
from adaptkit.regular_file import user_path

EMBEDDED = Path(str(files("adaptkit"))) / "mini" / "sinc_meta.safetensors"
KEPT = "(kept)"  # in place of a file: the meta-model comes with the learnt tensors


def meta_model_file(name: str) -> Path:
    """Path of the option `meta_model`.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = EMBEDDED if name in ("", KEPT) else user_path(name, "meta-model")
    if not path.is_file():
        raise FileNotFoundError(
            f"meta_model={name!r}: there is no file {str(path)!r}; give what `adaptkit sinc train` wrote, or leave the "
            "option empty for the embedded backbone"
        )
    return path


@options
class SincMetaConfig:
    meta_model: str = option(
        "",
        "What `adaptkit sinc train` wrote for this backbone; empty for the one that comes with the embedded backbone. "
        "It travels with a saved adapter.",
        file=meta_model_file,
        kept=KEPT,
    )
    pruned_to: int = option(
        20,
        "Where there are more classes than the meta-model has slots, an image is compared with so many that zero-shot "
        "CLIP finds best.",
        least=2,
    )
    seen_classes: Literal["warn", "refuse", "allow"] = option(
        "warn", "What to do about classes that the meta-model has learnt on, which are no test of it."
    )
