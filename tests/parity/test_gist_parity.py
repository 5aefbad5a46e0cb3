"""GIST against numbers recorded from its released code (emu1729/GIST 7c0934f)."""

import pytest
import torch
from torch import nn

from adaptkit.objectives.gist import (
    captions_of_classes,
    class_key,
    contrastive_loss,
    fit_sgd_probe,
    match,
    match_files,
    recorded_optimizer,
    training_texts,
)
from tests.helpers.golden import Golden

pytestmark = pytest.mark.usefixtures("dtype")


def test_matching_equals_the_released_code():
    golden = Golden("gist", "matching")
    settings = golden.settings
    names = [class_key(line) for line in settings["class_file_lines"]]
    captions = captions_of_classes(names, settings["captions"])
    assert [list(own) for own in captions] == list(settings["captions"].values())
    features = list(golden["caption_features"].split([len(own) for own in captions]))
    files, labels, splits = zip(*settings["rows"], strict=True)
    rows, labels = golden["files"], torch.tensor(labels)
    matches = match(golden["image_features"][rows], labels[rows], features)
    golden.check("probabilities", matches.probabilities)
    golden.check("selected", matches.chosen)
    found = match_files(files, labels, golden["image_features"], captions, features, splits=splits)
    assert list(found) == [files[row] for row in rows]
    for row, places in zip(rows.tolist(), golden["selected"].tolist(), strict=True):
        assert found[files[row]] == [captions[labels[row]][place] for place in places if place >= 0]


def test_tuning_equals_the_released_code():
    golden = Golden("gist", "tuning_5steps")
    settings = golden.settings
    columns = [[row[key] for row in settings["rows"]] for key in ("filename", "species", "split")]
    assert training_texts(*columns, settings["caption_file"], settings["num_captions"]) == settings["texts"]

    learnt = {name: nn.Parameter(golden[f"init/{name}"].clone()) for name in ("wi", "wt", "logit_scale")}

    def loss_of(step):
        images, texts = golden["images"][step] @ learnt["wi"].T, golden["texts"][step] @ learnt["wt"].T
        return contrastive_loss(images, texts, learnt["logit_scale"])

    optimizer, losses = recorded_optimizer(learnt.values()), []
    for step in range(5):
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            for name, parameter in learnt.items():
                golden.check(f"grad/{name}", parameter.grad)
        optimizer.step()
        if step + 1 in (1, 5):
            for name, parameter in learnt.items():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))


def test_the_probe_equals_the_released_code():
    golden = Golden("gist", "probe")
    parts = {name: (golden[f"features_{name}"], golden[f"labels_{name}"]) for name in ("train", "val", "test")}
    probe = fit_sgd_probe(
        parts["train"],
        parts["val"],
        3,
        lr=golden.settings["lr"],
        epochs=golden.settings["epochs"],
        start=(golden["init/weight"], golden["init/bias"]),
    )
    golden.check_trained("weight", probe.weight)
    golden.check_trained("bias", probe.bias)
    golden.check_trained("test_logits", probe.logits(parts["test"][0]))
    torch.testing.assert_close(probe.val_accuracies, golden.tensors["val_accuracies"], check_dtype=False)
