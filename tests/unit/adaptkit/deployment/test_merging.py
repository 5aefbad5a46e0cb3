"""Weights folded into the backbone: the same features, a file that loads, and the way from zero-shot."""

import pytest
import torch

import adaptkit
from adaptkit import create_method
from adaptkit.deployment.merging import largest_difference, merge, save_backbone
from tests.conftest import CLASSES
from tests.helpers.golden import tiny_backbone
from trainers.cli import main


def learnt(name: str, backbone: adaptkit.FrozenCLIP) -> adaptkit.AdaptedCLIP:
    method = create_method(name, backbone, CLASSES).eval()
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return method


@pytest.mark.parametrize("name", ["clip_lora", "peft"])
def test_the_merged_backbone_is_the_method_as_zero_shot(name, tiny_clip, batch):
    method = learnt(name, tiny_clip)
    merged = merge(method)
    assert largest_difference(method, merged, batch[0]) < 1e-5
    assert largest_difference(method, tiny_clip, batch[0]) > 1e-3
    with torch.no_grad():
        ours = create_method("zero_shot", merged, CLASSES)(batch[0])
        torch.testing.assert_close(ours, method(batch[0]), rtol=1e-4, atol=1e-3)


def test_alpha_goes_from_the_zero_shot_weights_to_the_learnt_ones(tiny_clip):
    method = learnt("clip_lora", tiny_clip)
    name = "visual.transformer.resblocks.1.attn.in_proj_weight"
    start, half, end = (merge(method, alpha).model.state_dict()[name] for alpha in (0.0, 0.5, 1.0))
    torch.testing.assert_close(start, tiny_clip.model.state_dict()[name])
    torch.testing.assert_close(half, (start + end) / 2)
    assert not torch.equal(start, end)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        merge(method, 1.5)


def test_what_is_not_in_the_weights_cannot_be_merged(tiny_clip):
    with pytest.raises(ValueError, match="learns something beside CLIP's weights"):
        merge(create_method("maple", tiny_clip, CLASSES))


def test_a_merged_file_is_a_checkpoint_with_the_right_activation(golden_folder, tmp_path, batch):
    """OpenAI's models compute QuickGELU, which their weights do not show."""
    method = learnt("clip_lora", tiny_backbone("vit", golden_folder))
    path = save_backbone(merge(method), tmp_path / "merged.safetensors")
    loaded = adaptkit.load_backbone("auto", checkpoint=path)
    images = torch.randn(2, 3, 64, 64)
    assert largest_difference(method, loaded, images) < 1e-5
    with pytest.raises(ValueError, match="give it that ending"):
        save_backbone(loaded, tmp_path / "merged.pt")


def test_the_command_merges_an_adapter_of_the_embedded_backbone(tmp_path, capsys):
    method = learnt("clip_lora", adaptkit.load_backbone("adaptkit-mini"))
    folder = method.save_pretrained(tmp_path / "adapter")
    out = tmp_path / "merged.safetensors"
    assert main(["merge", str(folder), "--out", str(out), "--alpha", "1"]) == 0
    assert f'load_backbone("adaptkit-mini", checkpoint="{out}")' in capsys.readouterr().out
    images = torch.randn(2, 3, 48, 48)
    assert largest_difference(method, adaptkit.load_backbone("adaptkit-mini", checkpoint=out), images) < 1e-5
    assert main(["merge", str(folder), "--out", str(out), "--alpha", "2"]) == 2
