"""What every method is given while it learns base classes: no name and no image of those it is tested on later."""

from dataclasses import replace

import pytest

import trainers.bench.plan
import trainers.runs.execute
from adaptkit import AdaptedCLIP, list_methods
from adaptkit.backbone.tokenizer import Tokenizer
from datasets_fewshot import FewShotDataset, Item, registry
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.runs.execute import execute

NOVEL = tuple(name.replace("_", " ") for name in NAMES[2:])


@pytest.mark.parametrize("name", list_methods())
def test_nothing_of_the_novel_classes_is_seen_before_the_tests(name, tiny_clip, tmp_path, monkeypatch):
    words: list[str] = []
    images: list[Item] = []
    at_first_test: list[int] = []
    tokenizer_words, load, test = Tokenizer.words, FewShotDataset.load, trainers.runs.execute._test

    def spied_words(self: Tokenizer, text: str, behind: str = "") -> list[int]:
        words.append(f"{behind} {text}")
        return tokenizer_words(self, text, behind)

    def spied_load(self: FewShotDataset, item: Item):
        images.append(item)
        return load(self, item)

    def spied_test(method: AdaptedCLIP, *rest):
        at_first_test.extend([] if at_first_test else [len(words), len(images)])
        return test(method, *rest)

    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", lambda root, **_: synthetic_dataset(tmp_path))})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)
    words_to_bench = ["METHODS", "[all]", "SHOTS", "[2]", "SEEDS", "[1]", "DEVICE", "cpu", "OPTIM.EPOCHS", "2"]
    config = load_bench(overrides=[*words_to_bench, "OPTIM.STEPS", "0"])
    config = replace(config, runs=tuple(run for run in config.runs if run.method == name))
    bench = open_bench(config, tmp_path / "runs", tmp_path / "cache")
    todo = plan(config, bench)
    if name in todo.left_out:
        pytest.skip(f"it learns no base classes to be tested on others: {todo.left_out[name]}")

    monkeypatch.setattr(Tokenizer, "words", spied_words)
    monkeypatch.setattr(FewShotDataset, "load", spied_load)
    monkeypatch.setattr(trainers.runs.execute, "_test", spied_test)
    (run,) = todo.runs
    record = execute(run, bench)
    n_words, n_images = at_first_test
    assert not [text for text in words[:n_words] if any(novel in text for novel in NOVEL)]
    assert not [item for item in images[:n_images] if item.classname in NAMES[2:]]
    assert {item.path.split("/")[0] for item in images[:n_images]} <= {"train", "val"}
    assert any(novel in text for text in words[n_words:] for novel in NOVEL)  # then they are told, and are tested
    assert {item.classname for item in images[n_images:]} == set(NAMES)
    assert n_words
    assert [score.classnames for score in record.scores] == [NAMES[:2], NAMES[2:]]
