"""How the method of a saved adapter is trained again: as `adaptkit train` would, with the adapter's own options."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from adaptkit import AdaptedCLIP, create_method
from adaptkit.texts.class_texts import texts_of
from trainers.compute.seeds import seeded
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.fit.defaults import embedded_settings, size_settings
from trainers.fit.main import EMBEDDED
from trainers.protocols.few_shot import FEW_SHOT
from trainers.runs.data import Bench
from trainers.runs.identity import uses_training


def recipe_of(
    adapter: AdaptedCLIP, data: Path, images: int, seed: int, bench: Bench, overrides: Sequence[str] = ()
) -> RunConfig:
    """The settings with which the adapter's method would be trained on so many images.

    What an adapter does not keep, such as the rate and the number of steps, is what a training takes by default, or
    what the overrides say.

    Args:
        data: own images, by whose name the training is called.

    Raises:
        ValueError: if an override is none that the method has.
    """
    spec, classes = adapter.spec, adapter.classes
    assert spec is not None  # a saved method was made by its name
    shots = max(1, images // max(1, len(classes)))
    fixed: dict[str, object] = {
        "PROTOCOL": FEW_SHOT.name,
        "METHODS": [spec.name],
        "SHOTS": [shots],
        "SEEDS": [seed],
        "DATA.OWN": [str(data)],
        "DATA.TEMPLATES": list(classes.templates),
        "WRAP": [name for name, _ in spec.wrappers],
    }
    if bench.backbone.name == EMBEDDED:
        fixed |= embedded_settings(spec.name)
    own = {"options": spec.config, "wrap": spec.wrappers, "texts": texts_of(classes)}
    run = replace(load_bench(None, overrides, fixed).runs[0], **own)  # type: ignore[arg-type]
    with seeded(0, bench.backbone.device):
        consumes = create_method(spec.name, bench.backbone, ["cat", "dog"], spec.config, wrap=spec.wrappers).consumes
    fixed |= size_settings(run, images, consumes)
    return replace(load_bench(None, overrides, fixed).runs[0], **own)  # type: ignore[arg-type]


def why_not_again(adapter: AdaptedCLIP) -> str | None:
    """Why a method cannot be trained again from what its adapter keeps; None if it can, or learns nothing."""
    assert adapter.spec is not None
    if not uses_training(adapter):
        return None
    config = adapter.spec.config
    for entry in fields(config):  # type: ignore[arg-type]
        if "kept" in entry.metadata and getattr(config, entry.name) == entry.metadata["kept"]:
            return (
                f"{adapter.spec.name} learns with the file of its option {entry.name}, which the adapter does not keep"
            )
    return None
