"""Devices by name: those that towers run on, and that the machine has."""

from functools import partial

import pytest
import torch

import adaptkit
from adaptkit.backbone.devices import choose_device
from datasets_fewshot import load_own_data


@pytest.mark.parametrize("name", ["mps", "meta", "xpu", "cpu:1", "tpu", "", "cuda:x", "cuda:-1"])
def test_what_towers_do_not_run_on_is_refused(name):
    with pytest.raises(ValueError, match=rf"device is '{name}'; use auto, cpu, cuda or cuda:1"):
        choose_device(name)


def test_a_device_that_the_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device is 'cuda:99', but torch .* sees no CUDA device"):
        choose_device("cuda:99")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"device is 'cuda:99', and the last one here is cuda:1"):
        choose_device("cuda:99")
    assert choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("device", ["mps", "meta", "nonsense", "", "cpu:1", torch.device("meta")])
def test_backbones_and_adapters_are_loaded_to_such_a_device_only(device, tmp_path):
    backbone = adaptkit.load_backbone("adaptkit-mini", device="cpu")
    adaptkit.create_method("zero_shot", backbone, ["corgi", "husky"]).save_pretrained(tmp_path)
    for load in (partial(adaptkit.load_backbone, "adaptkit-mini"), partial(adaptkit.load, tmp_path)):
        with pytest.raises(ValueError, match=rf"device is '{device}'; use auto, cpu, cuda or cuda:1"):
            load(device=device)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_word_names_no_backbone_no_adapter_and_no_data(empty):
    for load, message in (
        (adaptkit.load_backbone, "the name of the backbone is empty"),
        (adaptkit.load, "the path of the adapter is empty"),
        (load_own_data, "the path of the data is empty"),
        (partial(adaptkit.load_backbone, "adaptkit-mini", checkpoint=empty), "the path of the checkpoint is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            load() if isinstance(load, partial) else load(empty)
