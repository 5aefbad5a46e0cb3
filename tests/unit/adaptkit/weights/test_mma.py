"""What the recorded numbers of MMA cannot show: its gradients by finite differences, counts, blocks and backbones."""

from dataclasses import replace

import pytest
import torch

import adaptkit
from adaptkit import create_method
from adaptkit.layers.coupled_branch import CoupledBranch, TowerEnds, he_normal
from adaptkit.towers.block import run_block
from adaptkit.towers.prompt_encoder import FullEncoder
from adaptkit.towers.shortening import run_shortened
from adaptkit.towers.token_tree import PromptTokens
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build


def randomise(method, std=0.1):
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=std)
    return method.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_without_scale_it_is_zero_shot_in_every_family_and_with_it_not(family, classes):
    backbone = build(family)
    encoder = "both" if family in WITH_VIT_BLOCKS else "text"
    images = torch.randn(2, 3, *backbone.preprocess_cfg.image_size)
    zero_shot = create_method("zero_shot", backbone, classes)(images)
    none = create_method("mma", backbone, classes, encoder=encoder, bottleneck=4, scale=0.0)
    torch.testing.assert_close(none(images), zero_shot, rtol=1e-4, atol=1e-3)
    far = create_method("mma", backbone, classes, encoder=encoder, bottleneck=4, scale=1.0)
    assert not torch.allclose(randomise(far)(images), zero_shot, atol=1e-2)


def test_the_branch_reads_the_normed_input_of_the_whole_block(tiny_clip, classes):
    method = randomise(create_method("mma", tiny_clip, classes, bottleneck=4, scale=0.5))
    ends, shared = method.vision_adapters["1"], method.shared_adapters["1"]
    block = tiny_clip.vision_tower.blocks[1]
    x = torch.randn(2, 5, 64)
    hidden = torch.relu(shared(torch.relu(ends.down(block.ln_1(x)))))
    expected = run_block(block, x) + 0.5 * ends.up(hidden)
    torch.testing.assert_close(run_block(method.backbone.vision_tower.blocks[1], x), expected, rtol=1e-4, atol=1e-4)


def test_the_weights_learn_as_if_the_scale_were_one_and_the_rows_get_their_true_gradient(classes):
    scale, x = 0.05, torch.randn(2, 5, 64, dtype=torch.float64)
    method = randomise(create_method("mma", build("clip_vit").double(), classes, bottleneck=4, scale=scale)).double()
    block = method.backbone.vision_tower.blocks[1]
    x.requires_grad_()
    towards = torch.randn(2, 5, 64, dtype=torch.float64)

    def value():
        return (run_block(block, x) * towards).sum()

    for weight in (method.vision_adapters["1"].up.weight, method.vision_adapters["1"].down.weight, x):
        (gradient,) = torch.autograd.grad(value(), weight)
        place, step = (0,) * weight.ndim, 1e-6
        with torch.no_grad():
            weight[place] += step
            above = value()
            weight[place] -= 2 * step
            below = value()
            weight[place] += step
        true = (above - below) / (2 * step)
        torch.testing.assert_close(gradient[place], true if weight is x else true / scale, rtol=1e-5, atol=1e-7)


def test_exact_gradients_are_smaller_by_the_scale_alone(tiny_clip, classes, batch):
    methods = [create_method("mma", tiny_clip, classes, bottleneck=4, gradients=kind) for kind in ("released", "exact")]
    methods[1].load_learnt_state(methods[0].learnt_state())
    assert torch.equal(methods[0].loss(*batch), methods[1].loss(*batch))
    for method in methods:
        method.backward(*batch)
    exact = methods[1].learnt_parameters()
    for name, parameter in methods[0].learnt_parameters().items():
        torch.testing.assert_close(1e-3 * parameter.grad, exact[name].grad, rtol=1e-3, atol=1e-7)


def test_the_towers_share_the_layer_between_and_each_weight_is_learnt_once(tiny_clip, classes):
    method = create_method("mma", tiny_clip, classes, bottleneck=4)
    for key, shared in method.shared_adapters.items():
        for tower in (method.backbone.text_tower, method.backbone.vision_tower):
            assert tower.blocks[int(key)].beside_block.shared is shared
    assert sum(name.startswith("shared") for name in method.learnt_parameters()) == 2 * 3
    widths = 64 + 64
    assert sum(p.numel() for p in method.learnt_parameters().values()) == 3 * (
        2 * 4 * widths + 2 * 4 + widths + 4 * 4 + 4
    )


def test_as_many_scalars_as_the_paper_has():
    """ViT-B/16: eight blocks of 33,312 in the text tower, 49,952 in the image tower and 1,056 in between."""
    device = torch.device("meta")
    parts = (TowerEnds(512, 32, device), TowerEnds(768, 32, device), he_normal(32, 32, device))
    assert 8 * sum(weight.numel() for part in parts for weight in part.parameters()) == 674_560


def test_all_weights_start_random_and_all_biases_at_zero(tiny_clip, classes):
    for name, parameter in create_method("mma", tiny_clip, classes).learnt_parameters().items():
        if name.endswith("bias"):
            assert not parameter.any()
        else:  # He et al., by the width that leaves the layer
            assert parameter.std().item() == pytest.approx((2 / len(parameter)) ** 0.5, rel=0.15)


def test_blocks_are_the_last_eight_or_those_that_are_named(tiny_clip, classes):
    assert list(create_method("mma", tiny_clip, classes).shared_adapters) == ["0", "1", "2"]
    method = create_method("mma", tiny_clip, classes, blocks=(-1,))
    assert list(method.text_adapters) == list(method.vision_adapters) == list(method.shared_adapters) == ["2"]
    with pytest.raises(ValueError, match=r"blocks names block 3; the tower has blocks 0 to 2"):
        create_method("mma", tiny_clip, classes, blocks=(3,))


def test_a_bottleneck_as_wide_as_a_tower_is_none_too_wide(tiny_clip, classes, batch):
    method = create_method("mma", tiny_clip, classes, bottleneck=64)
    assert method.text_adapters["0"].down.weight.shape == (64, 64)
    method.backward(*batch)


def test_adapters_stay_in_float32_beside_half_towers():
    """In float16, what 0.001 leaves of a branch would be rounded to nothing."""
    device = torch.device("cpu")
    branch = CoupledBranch(TowerEnds(16, 4, device), he_normal(4, 4, device), 1e-3, lifted=True)
    x = torch.randn(3, 16, dtype=torch.float16, requires_grad=True)
    added = branch(x)
    assert added.dtype == torch.float16
    torch.testing.assert_close(added, branch(x.float()).half())
    (1e-4 * added.float().sum()).backward()
    assert all(p.dtype == torch.float32 and p.grad.isfinite().all() for p in branch.parameters())
    torch.testing.assert_close(branch.ends.up.bias.grad, torch.full((16,), 3e-4), rtol=1e-2, atol=0)


def test_other_class_names_are_encoded_by_the_adapted_text_tower(tiny_clip, classes, batch):
    method = randomise(create_method("mma", tiny_clip, classes, scale=1.0, template_set="default"))
    method(batch[0])
    method.set_classes(["violin", "sushi"])
    other = create_method("mma", tiny_clip, ["violin", "sushi"], scale=1.0, template_set="default").eval()
    other.load_learnt_state(method.learnt_state())
    torch.testing.assert_close(method(batch[0]), other(batch[0]))
    zero_shot = create_method("zero_shot", tiny_clip, ["violin", "sushi"])
    assert not torch.allclose(method.class_weights(), zero_shot.class_weights(), atol=1e-2)


class DropsLast:
    """A shortening that drops the last two rows behind every block's attention."""

    active, proportional = True, False

    def __call__(self, layer, rows, q, k):
        return replace(rows, x=rows.x[:, :-2])

    def left(self, layer, n):
        return n - 2


@pytest.mark.parametrize("prompts", [{}, {0: torch.ones(2, 64)}], ids=["rows", "rows and prompts"])
def test_a_row_that_stays_takes_its_branch_along_where_rows_are_dropped(tiny_clip, classes, prompts):
    method = randomise(create_method("mma", tiny_clip, classes, scale=1.0))
    blocks = method.backbone.vision_tower.blocks[:2]
    x = torch.randn(2, 9, 64)
    whole = torch.cat([x, *(prompt.expand(2, -1, -1) for prompt in prompts.values())], dim=1)
    first = run_block(blocks[0], whole)
    expected = run_block(blocks[1], torch.cat([first[:, :7], first[:, 9:]], dim=1))[:, :5]
    shortened = run_shortened(blocks, DropsLast(), x, prompts, None).x
    torch.testing.assert_close(shortened, expected, rtol=1e-4, atol=1e-4)


def test_masked_blocks_equal_the_token_tree(tiny_clip, classes):
    """The full-length path runs the blocks with a mask, the tree without one."""
    method = randomise(create_method("mma", tiny_clip, classes, scale=1.0))
    tower = method.backbone.text_tower
    tokens = tiny_clip.tokenize(["a photo of a cat", "a dog"])
    full = FullEncoder(tower, PromptTokens(tokens, torch.full_like(tokens, -1), tower.ends(tokens)))()[0]
    torch.testing.assert_close(full, method.backbone.encode_text(tokens), rtol=1e-4, atol=1e-4)


def test_the_backbone_stays_as_it_is(tiny_clip, classes, batch):
    before = {name: weight.clone() for name, weight in tiny_clip.state_dict().items()}
    method = randomise(create_method("mma", tiny_clip, classes)).train()
    method.backward(*batch)
    assert all(torch.equal(weight, before[name]) for name, weight in tiny_clip.state_dict().items())
    assert all("adapters" in name for name in method.learnt_parameters())


def test_it_is_saved_and_loaded(tiny_clip, classes, batch, tmp_path):
    method = randomise(create_method("mma", tiny_clip, classes, scale=1.0))
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert torch.equal(loaded.eval()(batch[0]), method(batch[0]))


def test_an_image_tower_without_blocks_is_refused(classes):
    with pytest.raises(ValueError, match=r"mma with encoder=.both. needs an image tower"):
        create_method("mma", build("modified_resnet"), classes)
