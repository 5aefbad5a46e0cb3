"""PromptKD against numbers recorded from its released code (zhengli97/PromptKD ec244f7)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from tests.parity.steps import recorded_optim
from trainers.training.optim import build_optimizer

pytestmark = pytest.mark.usefixtures("dtype")

RELEASED_MAP = "VPT_image_trans.conv1."
LINEAR = ("inner", "outer")  # 1x1 convolutions there
AVERAGES = ("running_mean", "running_var")


def map_names():
    """Our learnt tensors of the map -> theirs."""
    places = {"inner": "0", "norm": "1", "outer": "3"}
    return {
        f"feature_map.{part}.{kind}": f"{RELEASED_MAP}{place}.{kind}"
        for part, place in places.items()
        for kind in ("weight", "bias")
    }


def vision_names(depth):
    later = {f"vision_prompts.{i}": f"image_encoder.transformer.resblocks.{i}.VPT_shallow" for i in range(1, depth)}
    return {"vision_prompts.0": "image_encoder.VPT", **later}


def teacher_names(depth):
    later = {f"text_prompts.{i - 1}": f"text_encoder.transformer.resblocks.{i}.VPT_shallow" for i in range(1, depth)}
    return {"context.ctx": "prompt_learner.ctx", **later, **vision_names(depth)}


def matrix(tensor):
    """A 1x1 convolution's weight (out, in, 1, 1) as that of a linear layer."""
    return tensor[..., 0, 0] if tensor.ndim == 4 else tensor


def build(golden, golden_folder, tmp_path):
    """The student with a teacher from files, as a user names one."""
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    teacher = create_method(
        "ivlp", backbone, settings["classes"], n_ctx_text=4, n_ctx_vision=4, depth_text=9, depth_vision=9
    ).to(torch.get_default_dtype())
    depth = backbone.vision_depth
    teacher.load_learnt_state({ours: golden[f"draw/teacher/{name}"] for ours, name in teacher_names(depth).items()})
    method = create_method(
        "promptkd",
        backbone,
        settings["classes"],
        teacher=str(teacher.save_pretrained(tmp_path / "teacher")),
        n_ctx=settings["n_ctx_vision"],
        depth=settings["prompt_depth_vision"],
        weight=settings["kd_weight"],
        temperature=settings["temperature"],
    ).to(torch.get_default_dtype())
    names = map_names() | vision_names(min(settings["prompt_depth_vision"], depth))
    assert {f"init/{name}" for name in names.values()} == {name for name in golden.tensors if name.startswith("init/")}
    learnt = method.learnt_parameters()
    assert learnt.keys() == names.keys()
    with torch.no_grad():
        for ours, name in names.items():
            learnt[ours].copy_(matrix(golden[f"init/{name}"]))
    return method, names


def images_of(golden, step):
    """The recorded images of a step, all four unless the batch is smaller."""
    return batch(step)[0][: golden.settings["batch_size"]]


def as_recorded(golden, name, ours):
    return ours.reshape(golden[name].shape)


@pytest.mark.parametrize("variant", variants("promptkd"))
def test_promptkd_equals_the_released_code(variant, golden_folder, tmp_path):
    golden = Golden("promptkd", variant)
    method, names = build(golden, golden_folder, tmp_path)
    images, labels = images_of(golden, 0), torch.zeros(4, dtype=torch.int64)
    teacher = method.teacher
    golden.check("teacher_text_features", method.class_weights())
    golden.check("teacher_image_features", F.normalize(teacher.method.encode_image(images), dim=-1))
    golden.check("teacher_logits", teacher.logits(images))
    method.train()
    start = method.training_state()
    prompts = dict(enumerate(method.vision_prompts))
    golden.check("image_features", method.backbone.encode_image(images, prompts))
    golden.check("mapped_features", method.encode_image(images))
    golden.check("logits", method.logits(images))
    method.zero_grad()
    method.backward(images, labels)
    for ours, name in names.items():
        gradient = method.learnt_parameters()[ours].grad
        golden.check(f"grad/{name}", as_recorded(golden, f"grad/{name}", gradient))
    method.load_training_state(start)
    optimizer = build_optimizer(method.learnt_parameters().values(), recorded_optim(golden))
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(images_of(golden, step), labels))
        optimizer.step()
        if step + 1 in (1, 5):
            for ours, name in names.items():
                tensor = method.learnt_parameters()[ours]
                golden.check_trained(f"step{step + 1}/{name}", as_recorded(golden, f"step{step + 1}/{name}", tensor))
            for kind in AVERAGES:
                ours = method.learnt_state()[f"feature_map.norm.{kind}"]
                golden.check_trained(f"step{step + 1}/{RELEASED_MAP}1.{kind}", ours)
    golden.check_trained("train_losses", torch.stack(losses))
    golden.check_trained("eval_logits", method.eval().logits(images))
