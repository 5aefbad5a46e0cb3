"""A finished run as an adapter: the method of its record, with the learnt tensors and a card of its scores."""

import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

import adaptkit
from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, Metric, TrainingFacts
from adaptkit.artefacts.config import Part, options_from_json
from adaptkit.backbone.named_in_file import load_named_in_file
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.contract.architecture import architecture_from_json
from adaptkit.layers.text_state import as_tensor, as_text
from trainers.config.settings import DataclassInstance
from trainers.runs.checksums import check_file
from trainers.runs.identity import classnames_hash
from trainers.runs.records import LEARNT_FILE, RECORD_FILE, ResultRecord, read_record
from trainers.runs.search import settled_wrap

SENTENCES, SPOKEN = TEXTS = "(sentences)", "(spoken)"  # names of tensors that hold these of the classes as JSON
UNNAMED = ("", "own", "file")  # What a record says of weights that no tag stands for.


def backbone_of_run(
    record: ResultRecord,
    place: str,
    pretrained: str | None = None,
    checkpoint: Path | None = None,
    device: str | torch.device = "cpu",
    *,
    trust_hub: bool = False,
) -> FrozenCLIP:
    """The backbone that a run's record names, by the rules for a name in a file.

    Args:
        place: the record, for errors.
        pretrained: tag of the weights, where the record does not name it.
        checkpoint: the user's file of weights, where the run was on one.
        trust_hub: whether the user agrees to fetch a hub repository that the record names.

    Raises:
        ValueError: if the name is not loaded on a file's word, or stands for no backbone.
    """
    named = record.pretrained if record.pretrained not in UNNAMED else None
    tag = None if checkpoint else pretrained or named
    return load_named_in_file(
        WeightsSource(record.backbone, tag, None, recorded_image_size(record)),
        place,
        checkpoint,
        device,
        trust_hub=trust_hub,
    )


def recorded_image_size(record: ResultRecord) -> tuple[int, int]:
    """Height and width of the images that the backbone of a run took."""
    facts = record.identity["preprocess"]
    assert isinstance(facts, dict)
    sides = facts["image_size"]
    assert isinstance(sides, list)
    height, width = (int(str(side)) for side in sides)
    return height, width


def load_run(folder: Path, backbone: FrozenCLIP) -> tuple[AdaptedCLIP, TrainingFacts]:
    """The trained method of a run's folder in eval mode, and facts for its card.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if the record is damaged, or the backbone's weights are not the run's.
    """
    record = read_record(folder)
    identity = record.identity
    if backbone.weights_hash != identity["weights"]:
        raise ValueError(
            f"the run in {folder} was on {record.backbone} with weights {str(identity['weights'])[:12]}, and those of "
            f"the backbone are {backbone.weights_hash[:12]}; name the run's with --pretrained or --checkpoint"
        )
    options, templates, wrapped = identity["options"], identity["templates"], identity.get("wrap", [])
    assert isinstance(options, dict)
    assert isinstance(templates, list)
    assert isinstance(wrapped, list)
    tensors = _learnt(folder) if (folder / LEARNT_FILE).exists() else {}
    sentences, spoken = (
        None if (kept := tensors.pop(key, None)) is None else json.loads(as_text(kept)) for key in TEXTS
    )
    make = partial(
        adaptkit.create_method,
        record.method,
        backbone,
        ClassSet(trained_classes(record), tuple(str(template) for template in templates), sentences, spoken),
        _options(adaptkit.method_config(record.method), Part(record.method, options), str(folder)),
    )
    wrap = tuple(_wrapper(entry, str(folder)) for entry in wrapped)
    method = make(wrap=wrap)
    search = method.search()
    # The run searched its skipped blocks, and its record holds them.
    if search is not None:
        found = architecture_from_json(json.dumps(record.architecture), f"the record of {folder}")
        method = make(wrap=settled_wrap(wrap, search, found))
    method.eval()
    if tensors:
        method.load_learnt_state(tensors)
    return method, training_facts(record)


def texts_state(classes: ClassSet) -> dict[str, Tensor]:
    """What a run keeps beside its learnt tensors of classes that are read in a way of their own; nothing for others."""
    texts = {SENTENCES: classes.sentences, SPOKEN: classes.spoken}
    return {key: as_tensor(json.dumps(said)) for key, said in texts.items() if said is not None}


def _options(config: type, part: Part, place: str) -> object:
    """Options of a record; a file whose content is among the learnt tensors is named by the word that stands for it."""
    kept = {field.name: field.metadata["kept"] for field in fields(config) if field.metadata.get("kept")}
    named = {name: kept.get(name, value) if value else value for name, value in part.options.items()}
    return options_from_json(config, Part(part.name, named), place)


def _learnt(folder: Path) -> dict[str, Tensor]:
    content = check_file(folder, RECORD_FILE, LEARNT_FILE)
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise ValueError(f"{folder / LEARNT_FILE} is no readable safetensors file: {error}") from None


def _wrapper(entry: object, place: str) -> tuple[str, DataclassInstance]:
    assert isinstance(entry, list)
    name, options = entry
    return name, cast(DataclassInstance, options_from_json(adaptkit.wrapper_config(name), Part(name, options), place))


def trained_classes(record: ResultRecord) -> tuple[str, ...]:
    """The classes that a run learnt on, or those of its first test if it learnt nothing.

    Raises:
        ValueError: if no test used the training classes, whose names a record does not keep.
    """
    training = record.identity.get("train")
    if not isinstance(training, dict):
        return record.scores[0].classnames
    for score in record.scores:
        if classnames_hash(score.classnames) == training["classnames"]:
            return score.classnames
    raise ValueError(
        f"the run {record.run_id[:12]} was not tested on the classes it learnt on, so its record does not name them"
    )


def training_facts(record: ResultRecord) -> TrainingFacts:
    """Facts about a run for a model card."""
    return TrainingFacts(
        dataset=record.dataset,
        shots=record.shots,
        metrics=tuple(
            Metric(score.name, score.accuracy, score.total, len(score.classnames))
            for score in record.scores
            if "accuracy" in score.metrics
        ),
        protocol=record.protocol,
        seed=None if record.deterministic else record.seed,
        epochs=record.epochs or None,
        notes=record.notes,
    )
