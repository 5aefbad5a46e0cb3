"""Weights that are not finite are refused where a backbone is loaded, from a file or from memory."""

import pytest
import torch
from safetensors.torch import save_file

from adaptkit import as_backbone, load_backbone
from tests.helpers.models import clip_vit


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = {name: tensor.clone() for name, tensor in load_backbone("adaptkit-mini").model.state_dict().items()}
    state["visual.proj"][0, 0] = value
    save_file(state, tmp_path / "damaged.safetensors")
    with pytest.raises(ValueError, match=r"visual\.proj of adaptkit-mini in .*damaged\.safetensors is not finite"):
        load_backbone("adaptkit-mini", checkpoint=tmp_path / "damaged.safetensors")
    model = clip_vit()
    model.text_projection.data[0, 0] = value
    with pytest.raises(ValueError, match="text_projection of mine is not finite"):
        as_backbone(model, name="mine")
