"""PEFT's tuners in CLIP's towers: they learn, they leave the backbone alone, they fold in, or they are refused."""

import warnings

import pytest
import torch

from adaptkit import create_method
from adaptkit.layers.split_towers import SplitAttention
from adaptkit.weights import peft_settings
from tests.helpers.models import build

peft = pytest.importorskip("peft")
TARGETS = ["q_proj", "v_proj", "c_fc"]
TUNERS = {
    "lora": peft.LoraConfig(r=4, target_modules=TARGETS, lora_dropout=0.1),
    "lora_everywhere": peft.LoraConfig(r=2, target_modules="all-linear"),
    "lora_by_pattern": peft.LoraConfig(r=2, target_modules=r"vision\.blocks\.2\..*c_proj"),
    "convolution": peft.LoraConfig(r=2, target_modules=["conv1", "out_proj"]),
    "dora": peft.LoraConfig(r=4, use_dora=True, target_modules=TARGETS),
    "biases": peft.LoraConfig(r=2, target_modules=["q_proj"], bias="all"),
    "saved_modules": peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["ln_final", "ln_post"]),
    "saved_attention": peft.LoraConfig(r=2, target_modules=["c_fc"], modules_to_save=["attn"]),
    "ia3": peft.IA3Config(target_modules=["k_proj", "v_proj", "c_fc"], feedforward_modules=["c_fc"]),
    "layer_norms": peft.LNTuningConfig(target_modules=["ln_1", "ln_2", "ln_final", "ln_post"]),
    "vera": peft.VeraConfig(r=4, target_modules=["q_proj", "v_proj"]),
    "oft": peft.OFTConfig(r=4, oft_block_size=0, target_modules=["q_proj"]),
    "lokr": peft.LoKrConfig(target_modules=TARGETS),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_tuner_learns_alone_and_folds_into_a_plain_backbone(tuner, tiny_clip, classes, batch):
    before = {name: weight.clone() for name, weight in tiny_clip.state_dict().items()}
    start = create_method("zero_shot", tiny_clip, classes)(batch[0])
    method = create_method("peft", tiny_clip, classes, settings=peft_settings(TUNERS[tuner]))
    torch.testing.assert_close(method.eval()(batch[0]), start, rtol=0, atol=1e-4)

    method.train()
    optimizer = torch.optim.SGD(method.learnt_parameters().values(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        method.backward(*batch)
        optimizer.step()
    ours = method.eval()(batch[0])
    assert not torch.allclose(ours, start, atol=1e-3)

    plain = create_method("zero_shot", method.merge_and_unload(), classes)
    torch.testing.assert_close(plain(batch[0]), ours, rtol=0, atol=1e-3)
    assert torch.equal(method(batch[0]), ours)
    assert all(torch.equal(weight, before[name]) for name, weight in tiny_clip.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tiny_clip.parameters())


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        (peft.LoraConfig(target_modules=["attn"]), "packed attention.*name q_proj, k_proj, v_proj or out_proj"),
        (peft.LoraConfig(target_modules=["attn.in_proj", "c_fc"]), "packed attention"),
        (peft.LoraConfig(target_modules=["q_proj", "token_embedding"]), "'token_embedding' is not in these towers"),
        (peft.LoraConfig(target_modules=["query"]), "'query' is not in these towers, which have c_fc, c_proj"),
        (peft.PromptTuningConfig(num_virtual_tokens=3), "use coop, vpt or maple"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(tiny_clip, classes, tuner, message):
    with pytest.raises(ValueError, match=message):
        create_method("peft", tiny_clip, classes, settings=peft_settings(tuner))


def test_what_no_output_depends_on_is_refused(tiny_clip, classes, monkeypatch):
    monkeypatch.setattr(SplitAttention, "project_qkv", lambda attn, x: attn.k_proj(x).repeat(1, 1, 3))
    monkeypatch.setattr(SplitAttention, "project_q", lambda attn, x: attn.k_proj(x))
    monkeypatch.setattr(SplitAttention, "project_kv", lambda attn, x: attn.k_proj(x).repeat(1, 1, 2))
    tuner = peft.LoraConfig(target_modules=["q_proj", "k_proj"])
    with pytest.raises(ValueError, match=r"q_proj.*that the towers never run"):
        create_method("peft", tiny_clip, classes, settings=peft_settings(tuner))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("LORA", "no JSON"),
        ("{}", 'add a "peft_type"'),
        ('{"peft_type": "LORO"}', "LORO"),
        ('{"peft_type": "LORA", "rank": 4}', "rank"),
    ],
)
def test_settings_that_are_no_tuner_are_refused(tiny_clip, classes, settings, message):
    with pytest.raises(ValueError, match=message):
        create_method("peft", tiny_clip, classes, settings=settings)


def test_one_tower_alone(classes, batch):
    text_only = create_method("peft", build("modified_resnet"), classes, encoder="text")
    assert text_only.consumes == "features"
    assert all(".text." in name for name in text_only.learnt_parameters())
    with pytest.raises(ValueError, match=r"peft with encoder=.both. needs an image tower"):
        create_method("peft", build("modified_resnet"), classes)
    vision_only = create_method("peft", build("clip_vit"), classes, encoder="vision")
    assert all(".vision." in name for name in vision_only.learnt_parameters())
    vision_only.backward(*batch)


def test_a_tower_that_is_not_causal_runs_every_position(classes):
    backbone = build("coca_style")
    method = create_method("peft", backbone, classes, encoder="text")
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=0.1)
    images = torch.randn(2, 3, 32, 32)
    plain = create_method("zero_shot", method.eval().merge_and_unload(), classes)
    torch.testing.assert_close(method(images), plain(images), rtol=1e-4, atol=1e-3)


def test_learnt_tensors_load_into_a_fresh_method(tiny_clip, classes, batch):
    settings = peft_settings(TUNERS["vera"])
    method = create_method("peft", tiny_clip, classes, settings=settings).eval()
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=0.1)
    fresh = create_method("peft", tiny_clip, classes, settings=settings).eval()
    fresh.load_learnt_state(method.learnt_state())
    assert torch.equal(fresh(batch[0]), method(batch[0]))


def test_peft_counts_what_learns(tiny_clip, classes, capsys):
    method = create_method("peft", tiny_clip, classes)
    method.print_trainable_parameters()
    learnt = sum(parameter.numel() for parameter in method.learnt_parameters().values())
    assert f"trainable params: {learnt:,}" in capsys.readouterr().out


def test_other_names_keep_what_is_learnt(tiny_clip, classes, batch):
    method = create_method("peft", tiny_clip, classes).eval()
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
