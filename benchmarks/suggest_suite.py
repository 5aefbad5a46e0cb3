"""Whether suggestions find what was planted, whether labels by suggestion are worth more, and what describing gives.

python -m benchmarks.suggest_suite

On data sets of the embedded suite, with the embedded model and one thread: below ten minutes.

- Label errors: 5 % of the training labels of each of three sets are swapped for another class, and `suggest` lists
  what it doubts. `found` is the share of the planted errors in the list, `precision` the share of the list that is
  planted, both also of the confident part, and `precision_at_planted` that of the first images of the list, as many as
  were planted; a random list has 5 %. The sets have errors of their own, so precision is a lower bound. The order of
  the list was chosen on other seeds.
- Duplicates: training images are saved or scaled otherwise, and compared with themselves. `others` counts the pairs of
  the set as it is that are listed; on openclipart most of them are one picture.
- Labels: two labelled images of each class and a pool; twenty images of the pool get their labels, by suggestion or at
  random. The way to choose was itself chosen on other seeds of these sets, so the gain is a little flattered.
- Describing: zero-shot on test images by class names, and by names and the embedded descriptors.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from PIL import Image

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, class_weights, create_method, load_backbone, templates_for
from adaptkit.texts.class_texts import read_class_texts
from adaptkit.texts.classify_by_description.config import EMBEDDED
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot import MINI_DATASETS, FeatureStore, FewShotDataset, Item, Split, load_dataset
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.feeding.encoder import ImageEncoder
from trainers.protocols.task import Task
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.replicas import learn_together
from trainers.suggest.alike import Pictures, alike, look_at, thumbnail
from trainers.suggest.held_out import answers
from trainers.suggest.main import suggest
from trainers.suggest.pool import label_next
from trainers.suggest.recipe import recipe_of

FILE = RESULTS / "suggest_suite.json"
DATASETS = ("fashion_mnist", "icons", "openclipart")
PER_CLASS = 16  # training images of a class, at most
WRONG = 0.05  # share of the labels that are swapped
ERROR_METHODS = ("zero_shot", "linear_probe", "clip_adapter")
ERROR_SEEDS = (4, 5, 6)  # others than those on which the order was chosen
LABEL_METHODS = ("linear_probe", "clip_adapter")
LABEL_SEEDS = (21, 22, 23, 24, 25, 26)  # others than those on which the way to choose was chosen
LABELLED = 2  # images of a class
POOL = 1000
COUNT = 20
COPIES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    backbone = load_backbone("adaptkit-mini")
    content = {
        "hardware": hardware(),
        "label_errors": label_errors(backbone),
        "duplicates": [copies_found(name) for name in DATASETS],
        "labels": labels(backbone),
        "describing": [described(name, backbone) for name in MINI_DATASETS],
        "seconds": round(time.perf_counter() - start),
    }
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {FILE}")


def label_errors(backbone: FrozenCLIP) -> list[dict[str, object]]:
    """Planted errors by method and data set, means over the seeds."""
    rows = []
    for method in ERROR_METHODS:
        for name in DATASETS:
            found = [errors_found(method, name, seed, backbone) for seed in ERROR_SEEDS]
            row: dict[str, object] = {"method": method, "dataset": name}
            rows.append(row | {key: round(fmean(one[key] for one in found), 1) for key in found[0]})
            print(rows[-1], flush=True)
    return rows


def errors_found(method: str, name: str, seed: int, backbone: FrozenCLIP) -> dict[str, float]:
    """One data set with swapped labels; shares in percent."""
    dataset, random = load_dataset(name), np.random.default_rng(seed)
    train = drawn(dataset, PER_CLASS, random)
    wrong = sorted(random.permutation(len(train))[: round(WRONG * len(train))].tolist())
    names, planted = dataset.classnames, set()
    for place in wrong:
        label = (train[place].label + int(random.integers(1, len(names)))) % len(names)
        train[place] = replace(train[place], label=label, classname=names[label])
        planted.add(train[place].path)
    faulty = replace(dataset, split=Split(tuple(train), (), ()))
    found = suggest(adapter(method, name, dataset, backbone), faulty, Path(name), seed=seed)
    assert found.label_errors is not None
    assert found.held_out_accuracy is not None
    hits = [one.path in planted for one in found.label_errors]
    sure = [hit for hit, one in zip(hits, found.label_errors, strict=True) if one.confident]
    return {
        "images": len(train),
        "planted": len(planted),
        "listed": len(hits),
        "found": 100 * sum(hits) / len(planted),
        "precision": 100 * sum(hits) / max(1, len(hits)),
        "confident": len(sure),
        "found_with_confidence": 100 * sum(sure) / len(planted),
        "precision_of_confident": 100 * sum(sure) / max(1, len(sure)),
        "precision_at_planted": 100 * sum(hits[: len(planted)]) / len(planted),
        "held_out_accuracy": found.held_out_accuracy,
    }


def adapter(method: str, name: str, dataset: FewShotDataset, backbone: FrozenCLIP) -> AdaptedCLIP:
    """A method as an adapter holds it; what it has learnt is not used, as folds are trained anew."""
    return create_method(method, backbone, ClassSet(dataset.classnames, templates_for(name)))


def drawn(dataset: FewShotDataset, count: int, random: np.random.Generator) -> list[Item]:
    """At most `count` training images of every class."""
    return [items[place] for items in by_class(dataset) for place in random.permutation(len(items))[:count].tolist()]


def by_class(dataset: FewShotDataset) -> list[list[Item]]:
    return [[item for item in dataset.split.train if item.label == label] for label in range(len(dataset.classnames))]


def copies_found(name: str) -> dict[str, object]:
    """Percent of changed copies that are near duplicates of their originals, and pairs that were not planted."""
    dataset = load_dataset(name)
    random = np.random.default_rng(1)
    places = random.permutation(len(dataset.split.train))[: 6 * COPIES].tolist()
    images = [dataset.load(dataset.split.train[place]) for place in places]
    own = np.stack([thumbnail(image) for image in images])
    found = {}
    for change, changed in CHANGES.items():
        rows = np.stack([thumbnail(changed(image)) for image in images[:COPIES]])
        pairs = {(pair.first, pair.second) for pair in alike(np.concatenate([own[:COPIES], rows]))}
        found[change] = round(100 * sum((place, COPIES + place) in pairs for place in range(COPIES)) / COPIES)
    return {"dataset": name, "found": found, "others": len(alike(own)), "of_pairs": len(own) * (len(own) - 1) // 2}


def saved_as_jpeg(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=50)
    return Image.open(content)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((round(0.03 * width), round(0.03 * height), round(0.97 * width), round(0.97 * height)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": saved_as_jpeg,
    "smaller": lambda image: image.resize((round(0.6 * image.width), round(0.6 * image.height))),
    "larger": lambda image: image.resize((2 * image.width, 2 * image.height)),
    "brighter": lambda image: image.point(lambda value: min(255, round(1.1 * value))),
    "cropped": cropped,  # which is no copy to the comparison
}


def labels(backbone: FrozenCLIP) -> list[dict[str, object]]:
    """Gains of twenty labels by method and data set, in points of test accuracy, and their difference."""
    rows: list[dict[str, object]] = []
    for method in LABEL_METHODS:
        every: list[tuple[float, float]] = []
        for name in DATASETS:
            gains = [gains_of(method, name, seed, backbone) for seed in LABEL_SEEDS]
            every += gains
            rows.append({"method": method, "dataset": name, **gained(gains)})
            print(rows[-1], flush=True)
        rows.append({"method": method, "dataset": "all", **gained(every)})
        print(rows[-1], flush=True)
    return rows


def gained(gains: Sequence[tuple[float, float]]) -> dict[str, object]:
    differences = [ours - random for ours, random in gains]
    return {
        "suggested": round(fmean(ours for ours, _ in gains), 2),
        "random": round(fmean(random for _, random in gains), 2),
        "difference": round(fmean(differences), 2),
        "standard_error": round(stdev(differences) / len(differences) ** 0.5, 2),
    }


def gains_of(method: str, name: str, seed: int, backbone: FrozenCLIP) -> tuple[float, float]:
    """Points of test accuracy that twenty suggested labels bring, and twenty random ones."""
    dataset, random = load_dataset(name), np.random.default_rng(seed)
    known = drawn(dataset, LABELLED, random)
    others = sorted(set(dataset.split.train) - set(known), key=lambda item: item.path)
    pool = [others[place] for place in random.permutation(len(others))[:POOL].tolist()]
    encoder = ImageEncoder(backbone, FeatureStore(cache_folder() / "features"), "fp32")
    bench = Bench(backbone, PoolEncoder(encoder, dataset.split.train), "fp32", "mini", Path())
    config = recipe_of(adapter(method, name, dataset, backbone), Path(name), len(known), seed, bench)

    def accuracies(*lists: Sequence[Item]) -> list[tuple[AdaptedCLIP, float]]:
        tasks = [Task(tuple(items), (), dataset.classnames, ()) for items in lists]
        runs = [Run(config, dataset, task, True, {}, Path(), "features") for task in tasks]
        learnt = [one.method for one in learn_together(runs, bench)]
        return [(one, accuracy(one, dataset, bench)) for one in learnt]

    ((start, before),) = accuracies(known)
    seen: Pictures = look_at(dataset, known)
    unlabelled = replace(dataset, split=Split(tuple(pool), (), ()))
    chosen = {row.path for row in label_next(start, unlabelled, seen, COUNT, seed, bench)[0]}
    suggested = [item for item in pool if item.path in chosen]
    at_random = [pool[place] for place in random.permutation(len(pool))[:COUNT].tolist()]
    (_, ours), (_, theirs) = accuracies([*known, *suggested], [*known, *at_random])
    return ours - before, theirs - before


def accuracy(method: AdaptedCLIP, dataset: FewShotDataset, bench: Bench) -> float:
    """Percent of the test images."""
    right = np.array([item.label for item in dataset.split.test])
    return 100 * float((answers(method, dataset, dataset.split.test, bench).argmax(axis=1) == right).mean())


def described(name: str, backbone: FrozenCLIP) -> dict[str, object]:
    """Zero-shot accuracy on the test images by names alone, and with the embedded descriptors."""
    dataset = load_dataset(name)
    texts = read_class_texts(EMBEDDED)
    classes = ClassSet(dataset.classnames, templates_for(name))
    encoder = ImageEncoder(backbone, FeatureStore(cache_folder() / "features"), "fp32")
    features = encoder.test_features(dataset, dataset.split.test)
    right = torch.tensor([item.label for item in dataset.split.test])
    found: dict[str, object] = {"dataset": name, "classes": len(classes), "images": len(right)}
    for word, read in (("names", classes), ("described", texts.described(classes, tokenizer=backbone.tokenizer))):
        with torch.no_grad():
            logits = backbone.logits(features, class_weights(backbone, read))
        found[word] = round(100 * float((logits.argmax(dim=1) == right).float().mean()), 1)
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
