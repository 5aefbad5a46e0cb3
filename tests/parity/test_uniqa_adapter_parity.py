"""The UniQA adapter against numbers recorded from its released code (zht8506/UniQA 9641459)."""

import open_clip
import pytest
import torch
from open_clip.model import CLIP

from adaptkit import FrozenCLIP, create_head
from adaptkit.heads.uniqa_adapter import UniQAAdapter, adapted_features
from tests.helpers.golden import Golden, variants
from tests.helpers.models import TEXT, VISION

pytestmark = pytest.mark.usefixtures("dtype")

LEVELS = ("bad image", "poor image", "fair image", "good image", "perfect image")


def recorded_head(golden: Golden) -> UniQAAdapter:
    """The head with the recorded text features and first weights, in torch's default precision."""
    width, dtype = golden["image_features"].shape[-1], torch.get_default_dtype()
    backbone = FrozenCLIP(CLIP(width, VISION, TEXT).to(dtype), open_clip.SimpleTokenizer(context_length=40), "recorded")
    groups = len(golden["text_features"]) // len(LEVELS)
    head = create_head("uniqa_adapter", backbone, prompt_groups=(LEVELS,) * groups).to(dtype)
    assert isinstance(head, UniQAAdapter)
    head.text.watch, head.text.value = None, golden["text_features"]
    with torch.no_grad():
        backbone.logit_scale.copy_(golden["logit_scale"])
        for ours, name in named(head).items():
            ours.copy_(golden[f"init/{name}"])
    return head


def named(head: UniQAAdapter) -> dict[torch.nn.Parameter, str]:
    """Learnt tensors with their names in the recordings."""
    return {
        head.down.weight: "adapter.fc.0.weight",
        head.up.weight: "adapter.fc.2.weight",
        head.raw_values: "score_level",
    }


@pytest.mark.parametrize("variant", variants("uniqa_adapter"))
def test_scores_gradients_and_steps_equal_the_released_code(variant):
    golden = Golden("uniqa_adapter", variant)
    head = recorded_head(golden)
    features, grades = golden["image_features"], golden["mos"]
    golden.check("adapted_features", adapted_features(features[0], head.down.weight, head.up.weight))
    golden.check("scores", head.grades(features[0])[:, None])
    head.loss(features[0], grades[0]).backward()
    for parameter, name in named(head).items():
        golden.check(f"grad/{name}", parameter.grad)

    optimizer, losses = torch.optim.Adam(head.learnt_parameters().values(), lr=golden.settings["lr"]), []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(head.loss(features[step], grades[step]))
        losses[-1].backward()
        optimizer.step()
        if step + 1 in (1, 5):
            for parameter, name in named(head).items():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))
    golden.check_trained("scores_after", head.grades(features[0])[:, None])
    crops = torch.stack([features[1], features[2]], dim=1)  # (B, V, D)
    golden.check_trained("crop_mean", head.scores(head.outputs(crops).mean(dim=1))[:, None])
