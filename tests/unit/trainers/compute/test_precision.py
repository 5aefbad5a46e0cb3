"""Devices by name: those that towers run on, and that the machine has."""

import pytest
import torch

from trainers.compute.precision import choose_device


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
