"""OOD distillation (arXiv:2307.03135): a small student of the embedded CLIP, tested on classes that it never saw."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, Support, class_weights, create_method
from adaptkit.deployment.export import export
from adaptkit.texts.classify_by_description.config import EMBEDDED
from adaptkit.texts.descriptions import read_descriptions
from adaptkit.weights.ood_distill import DistillationLossConfig, plan_for, retrieval_logits, zero_shot_logits
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import backbone
from benchmarks.verdicts import beats, sentence, verdict
from datasets_fewshot import FeatureStore, FewShotDataset, Item, load_dataset
from trainers.evaluation.students import Consistency, consistency, mean_per_class_accuracy
from trainers.fit.distillation.classes import described, divided, held_out_classes
from trainers.fit.distillation.main import Distillation, distill, student_features
from trainers.fit.distillation.recipe import recipe, shortened_to
from trainers.fit.distillation.shots import first_shots, shot_keys
from trainers.fit.distillation.views import squashed, teacher_features

DATA, STUDENT, EPOCHS, BATCH, SEEDS = "emoji_subgroups", "test_resnet", 8, 64, (1, 2, 3)
ARMS: Mapping[str, DistillationLossConfig] = {
    "L_cls": DistillationLossConfig(mse=0, im_cst=0, vlalign=0),
    "+ L_mse": DistillationLossConfig(im_cst=0, vlalign=0),
    "+ L_im-cst": DistillationLossConfig(vlalign=0),
    "+ L_vlalign": DistillationLossConfig(),
}
WHOLE, DESCRIBED = "+ L_vlalign", "+ descriptions"
LATENCY_REPEATS = 200
SETTING = (
    "emoji_subgroups at 48 pixels; half of its 45 classes are held out, another half and another student for each of 3 "
    "seeds; timm's test_resnet from scratch, the paper's recipe for ResNets with batches of 64, shortened to 8 passes "
    "over 1000 images; accuracy is the mean over classes, on all images of the held-out ones"
)


@dataclass(frozen=True)
class Task:
    """The halves of the data for one seed, and what the teacher has of the held-out half."""

    seen: FewShotDataset
    unseen: FewShotDataset
    items: Sequence[Item]  # all images of the held-out classes
    labels: Tensor
    teacher: Tensor  # (N, D)


@dataclass(frozen=True)
class Outcome:
    """One student; accuracies in percent, mean over classes."""

    ood: float
    seen: float  # on test images of the training classes
    spaces: Consistency
    features: Tensor  # (N, D) of the images of the held-out classes
    student: FrozenCLIP


def measure() -> list[Finding]:
    """Measure the claims."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder) / "features")
        arms = {arm: [_outcome(seed, loss, False, store) for seed in SEEDS] for arm, loss in ARMS.items()}
        arms[DESCRIBED] = [_outcome(seed, ARMS[WHOLE], True, store) for seed in SEEDS]
        exported = _exported(arms[WHOLE][0].student, Path(folder))
    return [
        _whole(arms),
        _each_term(arms),
        _descriptions(arms),
        _consistency(arms),
        _shots(arms[WHOLE]),
        _methods(arms[WHOLE]),
        exported,
    ]


@cache
def task(seed: int) -> Task:
    """The halves of the classes for a seed."""
    dataset = load_dataset(DATA)
    seen, unseen = divided(dataset, held_out_classes(dataset.classnames, 0.5, seed))
    items = tuple(item for part in unseen.split for item in part)
    images = squashed(unseen, plan_for(backbone(), STUDENT), backbone())
    labels = torch.tensor([item.label for item in items])
    return Task(seen, unseen, items, labels, teacher_features(images, items, backbone(), None))


def _texts(data: FewShotDataset, with_descriptions: bool) -> ClassSet:
    said = read_descriptions(EMBEDDED) if with_descriptions else None
    return described(data.classnames, said, backbone().tokenizer)


def _outcome(seed: int, loss: DistillationLossConfig, with_descriptions: bool, store: FeatureStore) -> Outcome:
    own, chosen = task(seed), recipe("resnet", 0)
    optim = replace(shortened_to(chosen.optim, EPOCHS), batch_size=BATCH)
    settings = Distillation(replace(chosen, optim=optim), loss, seed=seed)
    classes = _texts(own.seen, with_descriptions)
    student = distill(own.seen, classes, backbone(), plan_for(backbone(), STUDENT), settings, store=store).student
    features = student_features(own.unseen, own.items, student)
    texts = class_weights(backbone(), _texts(own.unseen, with_descriptions))
    test = own.seen.split.test
    seen = zero_shot_logits(student_features(own.seen, test, student), class_weights(backbone(), classes))
    return Outcome(
        mean_per_class_accuracy(zero_shot_logits(features, texts), own.labels),
        mean_per_class_accuracy(seen, torch.tensor([item.label for item in test])),
        consistency(features, own.teacher, texts),
        features,
        student,
    )


def _ceiling(with_descriptions: bool = False) -> list[float]:
    """The teacher's own accuracy on the held-out classes, for every seed."""
    return [
        mean_per_class_accuracy(
            zero_shot_logits(own.teacher, class_weights(backbone(), _texts(own.unseen, with_descriptions))), own.labels
        )
        for own in map(task, SEEDS)
    ]


def _ood(outcomes: Sequence[Outcome]) -> list[float]:
    return [outcome.ood for outcome in outcomes]


def _whole(arms: Mapping[str, Sequence[Outcome]]) -> Finding:
    gain = difference("all terms minus L_cls", _ood(arms[WHOLE]), _ood(arms["L_cls"]))
    classes = len(task(SEEDS[0]).unseen.classnames)
    values = (
        over("held-out classes, L_cls", _ood(arms["L_cls"])),
        over("held-out classes, all terms", _ood(arms[WHOLE])),
        gain,
        over("held-out classes, the teacher", _ceiling()),
        Value("by chance (exact)", 100 / classes),
        over("training classes, L_cls", [outcome.seen for outcome in arms["L_cls"]]),
        over("training classes, all terms", [outcome.seen for outcome in arms[WHOLE]]),
    )
    return Finding(
        "Imitating the teacher's visual space and its alignment with texts makes a small student better on classes "
        "that it never saw",
        "abstract",
        SETTING,
        values,
        verdict(beats(gain)),
        sentence(gain, gain.what),
    )


def _each_term(arms: Mapping[str, Sequence[Outcome]]) -> Finding:
    names = list(ARMS)
    gains = [
        difference(f"{later} on top", _ood(arms[later]), _ood(arms[earlier])) for earlier, later in pairwise(names)
    ]
    return Finding(
        "Each of the terms L_mse, L_im-cst and L_vlalign adds to it",
        "released code",
        SETTING,
        (*(over(f"held-out classes, {name}", _ood(arms[name])) for name in names), *gains),
        verdict(*map(beats, gains)),
        " ".join(sentence(gain, gain.what) for gain in gains),
    )


def _descriptions(arms: Mapping[str, Sequence[Outcome]]) -> Finding:
    gain = difference("with descriptions minus names alone", _ood(arms[DESCRIBED]), _ood(arms[WHOLE]))
    teacher = difference("the teacher, likewise", _ceiling(True), _ceiling())
    return Finding(
        "Texts with descriptions of the classes help with classes never seen",
        "abstract",
        f"{SETTING}; the embedded descriptors, behind names in training and in the test, cut where 24 tokens end",
        (over("held-out classes, with descriptions", _ood(arms[DESCRIBED])), gain, teacher),
        verdict(beats(gain)),
        f"{sentence(gain, 'the student')} {sentence(teacher, 'the teacher itself')}",
    )


def _consistency(arms: Mapping[str, Sequence[Outcome]]) -> Finding:
    measures: Mapping[str, Callable[[Consistency], float]] = {
        "mean cosine": lambda found: found.mean_cosine,
        "overlap of 10 neighbours": lambda found: found.neighbours,
        "rank correlation of classes": lambda found: found.class_spearman,
    }

    def of(arm: str, read: Callable[[Consistency], float]) -> list[float]:
        return [read(outcome.spaces) for outcome in arms[arm]]

    gains = [
        difference(f"{name}, all terms minus L_cls", of(WHOLE, read), of("L_cls", read), "")
        for name, read in measures.items()
    ]
    values = [over(f"{name}, all terms", of(WHOLE, read), "") for name, read in measures.items()]
    agreement = over("same class as the teacher, all terms", of(WHOLE, lambda found: found.agreement))
    return Finding(
        "The student's visual space becomes that of its teacher, also around images of classes never seen",
        "abstract",
        f"{SETTING}; the measures are ours",
        (*values, agreement, *gains),
        verdict(*map(beats, gains)),
        " ".join(sentence(gain, gain.what) for gain in gains),
    )


def _shots(outcomes: Sequence[Outcome]) -> Finding:
    plain, found = zip(*map(_with_shots, SEEDS, outcomes), strict=True)
    gain = difference("retrieval minus zero-shot", found, plain)
    return Finding(
        "A few images of the new classes, found again by the teacher's features of them, help further",
        "abstract",
        f"{SETTING}; 5 images of each held-out class with 10 views each, tested on the others",
        (over("zero-shot on the others", plain), over("retrieval", found), gain),
        verdict(beats(gain)),
        sentence(gain, gain.what),
    )


def _with_shots(seed: int, outcome: Outcome) -> tuple[float, float]:
    """Accuracy of zero-shot and of retrieval on images that are no shots."""
    own = task(seed)
    shots = first_shots(own.items)
    rest = torch.tensor([item not in set(shots) for item in own.items])
    keys = shot_keys(squashed(own.unseen, plan_for(backbone(), STUDENT), backbone()), shots, backbone())
    texts = class_weights(backbone(), _texts(own.unseen, False))
    logits = (zero_shot_logits(outcome.features, texts), retrieval_logits(outcome.features, texts, keys))
    plain, found = (mean_per_class_accuracy(each[rest], own.labels[rest]) for each in logits)
    return plain, found


def _methods(outcomes: Sequence[Outcome]) -> Finding:
    makers: Mapping[str, Callable[[int, Outcome], AdaptedCLIP]] = {
        "zero_shot": partial(_method, "zero_shot"),
        "classify_by_description": partial(_method, "classify_by_description"),
        "tip_adapter": _tip_adapter,
    }
    found = {name: [_tested(make, *run) for run in zip(SEEDS, outcomes, strict=True)] for name, make in makers.items()}
    chance = 100 / len(task(SEEDS[0]).unseen.classnames)
    above = [
        over(f"{name} above chance", [value - chance for value in values], "points") for name, values in found.items()
    ]
    gain = difference("tip_adapter minus zero_shot", found["tip_adapter"], found["zero_shot"])
    return Finding(
        "Methods on texts and features work on the student as on any backbone",
        "ours",
        f"{SETTING}; 5 images of each held-out class for tip_adapter, all methods tested on the others",
        (*(over(name, values) for name, values in found.items()), *above, gain),
        verdict(*map(beats, above)),
        " ".join(sentence(value, value.what) for value in above),
    )


def _method(name: str, seed: int, outcome: Outcome) -> AdaptedCLIP:
    return create_method(name, outcome.student, task(seed).unseen.classnames)


def _tip_adapter(seed: int, outcome: Outcome) -> AdaptedCLIP:
    own = task(seed)
    method = _method("tip_adapter", seed, outcome)
    chosen = set(first_shots(own.items))
    places = torch.tensor([place for place, item in enumerate(own.items) if item in chosen])
    method.prepare(Support(outcome.features[places], own.labels[places]))
    return method


@torch.no_grad()
def _tested(make: Callable[[int, Outcome], AdaptedCLIP], seed: int, outcome: Outcome) -> float:
    own = task(seed)
    chosen = set(first_shots(own.items))
    rest = torch.tensor([item not in chosen for item in own.items])
    return mean_per_class_accuracy(make(seed, outcome).eval().logits(outcome.features[rest]), own.labels[rest])


def _exported(student: FrozenCLIP, folder: Path) -> Finding:
    """Size and latency of both zero-shot classifiers as ONNX files."""
    sizes, latencies = {}, {}
    for name, model in (("teacher", backbone()), ("student", student)):
        path = folder / f"{name}.onnx"
        export(create_method("zero_shot", model, task(SEEDS[0]).unseen.classnames), path, "onnx")
        sizes[name], latencies[name] = path.stat().st_size / 2**20, _latency(path)
    smaller, faster = sizes["student"] < sizes["teacher"], latencies["student"] < latencies["teacher"]
    return Finding(
        "The exported student is smaller and answers faster than its teacher",
        "ours",
        f"zero_shot as ONNX files, 22 classes, one image of 48 pixels, one thread, median of {LATENCY_REPEATS} calls",
        (
            *(Value(f"size, {name} (exact)", size, unit="MiB") for name, size in sizes.items()),
            *(Value(f"latency, {name} (measured once)", each, unit="ms") for name, each in latencies.items()),
        ),
        verdict(smaller, faster),
        f"The file is {sizes['teacher'] / sizes['student']:.1f} times smaller, and a call takes "
        f"{latencies['student'] / latencies['teacher']:.2f} of the teacher's time.",
    )


def _latency(path: Path) -> float:
    """Median milliseconds of a call with one image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, 48, 48), dtype=np.float32)
    times = []
    for _ in range(LATENCY_REPEATS):
        start = time.perf_counter()
        session.run(None, {"images": image})
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
