"""CoOp with its image-absent prior taken out, by the real command: trained on a folder, asked, saved, loaded, equal."""

import json

import torch

import adaptkit
from adaptkit.contract.images import read_image
from adaptkit.wrappers.posthoc_debias.absent import blank_images
from adaptkit.wrappers.posthoc_debias.equations import corrected
from datasets_fewshot import load_dataset
from trainers.cli import main

CLASSES, IMAGES = 3, 6


def photos(folder):
    """A folder CLASS/NUMBER.png; returns the images' paths."""
    dataset, paths = load_dataset("icons"), []
    for label in range(CLASSES):
        items = [item for part in dataset.split for item in part if item.label == label][:IMAGES]
        for number, item in enumerate(items):
            paths.append(folder / item.classname / f"{number}.png")
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            dataset.load(item).save(paths[-1])
    return paths


def test_coop_without_its_prior_is_trained_asked_saved_and_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    paths = photos(tmp_path / "photos")
    few = ["--shots", "2", "COOP.N_CTX", "2", "OPTIM.EPOCHS", "2", "WRAP", '["posthoc_debias"]']
    assert main(["train", "coop", "--data", "photos", "--out", "out", *few]) == 0
    (adapter,) = {file.parent for file in (tmp_path / "out").rglob("adapter_config.json")}
    capsys.readouterr()
    assert main(["predict", str(adapter), *map(str, paths[:4]), "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    method = adaptkit.load(adapter)
    assert method.spec.wrappers[0][0] == "posthoc_debias"
    predictions = method.predict(paths[:4])
    assert [list(one.labels) for one in predictions] == [[each["label"] for each in line["classes"]] for line in said]

    images = torch.stack([method.backbone.preprocess(read_image(path)) for path in paths])
    with torch.no_grad():
        logits = method(images)
        prior = method.inner(blank_images(method.backbone.preprocess_cfg))
        torch.testing.assert_close(logits, corrected(method.inner(images), prior))
        method.save_pretrained("again")
        assert torch.equal(adaptkit.load("again", method.backbone)(images), logits)
