"""The model card of a saved method: README.md with the YAML front matter that the Hugging Face hub reads."""

from collections.abc import Mapping
from dataclasses import dataclass

import open_clip
import yaml
from torch import Tensor

from adaptkit.artefacts.config import ArtefactConfig
from adaptkit.backbone.weights_source import WeightsSource

MULTI_LABEL = "multi_label"  # the wrapper of methods that have learnt several labels per image
NAMES_SHOWN = 20  # Number of class names that the card lists.


@dataclass(frozen=True)
class Metric:
    """Accuracy on one set of test images."""

    name: str  # Name of the set, such as "base" or "all".
    accuracy: float  # Accuracy in percent.
    images: int
    classes: int


@dataclass(frozen=True)
class TrainingFacts:
    """Facts about the training of a saved method, for its model card."""

    dataset: str
    shots: int  # Training images per class; 0 if there were none.
    metrics: tuple[Metric, ...] = ()
    protocol: str | None = None
    seed: int | None = None
    epochs: int | None = None
    licence: str | None = None  # Licence of the learnt tensors, as the hub spells it: "mit".
    notes: tuple[str, ...] = ()
    pairs: int = 0  # Images with captions that were trained on; 0 if there were none.


def model_card(
    config: ArtefactConfig,
    tensors: Mapping[str, Tensor],
    training: TrainingFacts | None = None,
    *,
    is_head: bool = False,
) -> str:
    """Text of the model card; unknown facts are left out or said to be unknown.

    Args:
        is_head: whether it answers something else than classes.
    """
    front = _front_matter(config, training, is_head)
    return f"---\n{front}---\n\n" + "\n\n".join(_sections(config, tensors, training, is_head)) + "\n"


def _front_matter(config: ArtefactConfig, training: TrainingFacts | None, is_head: bool) -> str:
    task = "image-classification" if config.bound_to_classes else "zero-shot-image-classification"
    task = "image-feature-extraction" if is_head else task
    facts: dict[str, object] = {
        "library_name": "adaptkit",
        "pipeline_tag": task,
        "license": (training.licence if training else None) or "unknown",
        "base_model": _hub_name(config.backbone.source),
        "tags": ["adaptkit", "clip", config.method.name, *(wrapper.name for wrapper in config.wrappers)],
    }
    if training is not None:
        facts["model-index"] = [{"name": config.method.name, "results": _results(training)}]
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _results(training: TrainingFacts) -> list[dict[str, object]]:
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": training.dataset, "type": training.dataset, "split": metric.name},
            "metrics": [{"type": "accuracy", "value": round(metric.accuracy, 2)}],
        }
        for metric in training.metrics
    ]


def _hub_name(source: WeightsSource) -> str:
    """Hub repository of a backbone if it has one, else its own name."""
    if source.name.startswith("hf-hub:"):
        return source.name.removeprefix("hf-hub:")
    published = open_clip.get_pretrained_cfg(source.name, source.pretrained) if source.pretrained else {}
    return str(published.get("hf_hub") or source.name).rstrip("/")


def _sections(
    config: ArtefactConfig, tensors: Mapping[str, Tensor], training: TrainingFacts | None, is_head: bool
) -> list[str]:
    learnt = sum(tensor.numel() for tensor in tensors.values())
    sections = [
        f"# {config.method.name} on {config.backbone.source}",
        f"{'A head' if is_head else 'An adapter'} of {learnt:,} learnt numbers, made with adaptkit. The backbone is "
        "not included; its weights have to be the very ones of the hash below.",
        "## Use",
        _use(config, is_head),
    ]
    if not is_head:
        sections += ["## Classes", *_classes(config)]
    if training is not None:
        sections += ["## Training and results", _training(training)]
    settings = ", ".join(f"{name} = {value!r}" for name, value in config.method.options.items()) or "none"
    sections += [
        "## Details",
        "\n".join(
            [
                f"- method `{config.method.name}`; options: {settings}",
                *(f"- wrapped in `{wrapper.name}`: {wrapper.options}" for wrapper in config.wrappers),
                f"- backbone {config.backbone.source}, {config.backbone.dtype}, "
                f"weights SHA-256 `{config.backbone.weights_sha256}`",
                f"- templates: {'; '.join(config.templates)}",
                *(["- sentences of single classes, in the place of templates"] if config.sentences else []),
                f"- made with {', '.join(f'{name} {version}' for name, version in config.versions.items())}",
            ]
        ),
    ]
    return sections


def _classes(config: ArtefactConfig) -> list[str]:
    if not config.classnames:
        return ["None: `method.set_classes([...])` gives it some, and `encode_image` and `encode_text` need none."]
    names = ", ".join(config.classnames[:NAMES_SHOWN])
    more = len(config.classnames) - NAMES_SHOWN
    return [
        f"{len(config.classnames)}: {names}{f', and {more} more' if more > 0 else ''}.",
        "It is bound to these classes: other names are refused."
        if config.bound_to_classes
        else "Other names need no new training: `method.set_classes([...])`.",
    ]


def _use(config: ArtefactConfig, is_head: bool) -> str:
    source = config.backbone.source
    given = f", backbone={source.as_call()}" if source.checkpoint else ""
    if is_head:
        lines = ["import adaptkit", "", f'head = adaptkit.load_head("path/to/this/folder"{given})']
        lines.append('print(head.answers(["photo.jpg"]))')
        return "```python\n" + "\n".join(lines) + "\n```"
    lines = ["import adaptkit", "", f'method = adaptkit.load("path/to/this/folder"{given})']
    if not config.bound_to_classes:
        why = "if other names are wanted" if config.classnames else "as it has none"
        lines.append(f'method.set_classes(["corgi", "husky"])  # {why}')
    lines.append('for prediction in method.predict(["photo.jpg"]):')
    several = any(wrapper.name == MULTI_LABEL for wrapper in config.wrappers)
    lines.append(
        "    print(prediction.present)  # the labels that are there, none or several"
        if several
        else "    print(prediction.label, prediction.probability)"
    )
    return "```python\n" + "\n".join(lines) + "\n```"


def _training(training: TrainingFacts) -> str:
    shots = f"{training.shots} images per class" if training.shots else "no training images"
    shots = f"{training.pairs:,} images with captions" if training.pairs else shots
    how = [
        f"{name} {value}" for name, value in (("seed", training.seed), ("epochs", training.epochs)) if value is not None
    ]
    where = f" ({training.protocol})" if training.protocol else ""
    lines = [f"Data: {training.dataset}{where}, {', '.join([shots, *how])}."]
    if training.metrics:
        lines += ["", "| test images of | accuracy, % | images | classes |", "|---|---|---|---|"]
        lines += [f"| {m.name} | {m.accuracy:.2f} | {m.images} | {m.classes} |" for m in training.metrics]
    if training.notes:
        lines += ["", *(f"- {note}" for note in training.notes)]
    return "\n".join(lines)
