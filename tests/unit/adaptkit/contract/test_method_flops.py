"""What a training step costs at ViT-B/16 size against the plain path of the released code, in counted FLOPs and kept
activations; and how many scalars it learns.

The plain path runs 77 positions of every class (and image, in CoCoOp) and the image tower in every step. Its shapes
suffice to count its FLOPs, so it runs on the meta device; ours is counted while it computes.
"""

from collections.abc import Callable, Iterator

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptkit import AdaptedCLIP, FrozenCLIP, create_method
from adaptkit.towers.linears import use_onednn
from tests.unit.adaptkit.towers.test_flops import kept_bytes

NAMES = tuple(open_clip.IMAGENET_CLASSNAMES)  # spread over the list: its first names are longer than most
VISION = {"image_size": 224, "patch_size": 16, "layers": 12, "width": 768}
TEXT = {"context_length": 77, "vocab_size": 49408, "layers": 12, "width": 512, "heads": 8}


def vit_b_16(device: str) -> CLIP:
    """Weights are constants: what is counted does not depend on them."""
    with torch.device("meta"):
        model = CLIP(512, VISION, TEXT, quick_gelu=True)
    if device != "meta":
        model = model.to_empty(device=device)
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.data.fill_(0.01)
        model.attn_mask = torch.full((77, 77), float("-inf")).triu(1)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def backbone() -> FrozenCLIP:
    return FrozenCLIP(vit_b_16("cpu"), open_clip.SimpleTokenizer(context_length=77), "ViT-B-16")


@pytest.fixture(autouse=True)
def _countable() -> Iterator[None]:
    with use_onednn(False), sdpa_kernel(SDPBackend.MATH):  # fused kernels hide their products from the counter
        yield


def flops(step: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def step_flops(method: AdaptedCLIP, x: Tensor) -> int:
    """Forward and backward of one batch."""
    return flops(lambda: method.backward(x, torch.arange(len(x)) % len(method.classes)))


def run_plain(blocks: nn.ModuleList, x: Tensor, ctx: Tensor, start: int, depth: int) -> Tensor:
    """All rows of x (N, L, D) through all blocks, learnt tokens in rows from `start` on before the first `depth`."""
    for layer, block in enumerate(blocks):
        if layer < depth:
            x = torch.cat([x[:, :start], ctx.expand(len(x), -1, -1), x[:, start + len(ctx) :]], dim=1)
        x = block(x)
    return x


def plain_text(n_prompts: int, n_ctx: int, depth: int, device: str = "meta") -> Callable[[], Tensor]:
    """The forward pass over 77 positions of every prompt, to a scalar."""
    model = vit_b_16(device)
    ctx = torch.zeros(n_ctx, 512, device=device, requires_grad=True)

    def forward() -> Tensor:
        x = torch.zeros(n_prompts, 77, 512, device=device)
        x = run_plain(model.transformer.resblocks, x, ctx, start=1, depth=depth)
        return (model.ln_final(x)[:, 0] @ model.text_projection).sum()

    return forward


def plain_images(batch_size: int, n_ctx: int = 0, depth: int = 0, device: str = "meta") -> Callable[[], Tensor]:
    """The forward pass over the 197 rows and the prompts of every image, to a scalar."""
    visual = vit_b_16(device).visual
    ctx = torch.zeros(n_ctx, 768, device=device, requires_grad=n_ctx > 0)

    def forward() -> Tensor:
        patches = visual.conv1(torch.zeros(batch_size, 3, 224, 224, device=device))
        x = torch.zeros(batch_size, 1 + patches[0, 0].numel() + n_ctx, 768, device=device)
        x = run_plain(visual.transformer.resblocks, x, ctx, start=197, depth=depth)
        return (visual.ln_post(x)[:, 0] @ visual.proj).sum()

    return forward


def plain_text_step(n_prompts: int, n_ctx: int, depth: int = 1) -> int:
    forward = plain_text(n_prompts, n_ctx, depth)
    return flops(lambda: forward().backward())


def plain_image_step(batch_size: int, n_ctx: int = 0, depth: int = 0) -> int:
    """Without prompts there is nothing to go back to."""
    forward = plain_images(batch_size, n_ctx, depth)
    return flops(lambda: forward().backward() if n_ctx else forward())


@pytest.mark.parametrize(("name", "n_ctx"), [("coop", 16), ("kgcoop", 4)])
def test_100_classes_on_fixed_views_cost_a_thirty_fifth(name, n_ctx, backbone):
    method = create_method(name, backbone, NAMES[::10])
    plain = plain_text_step(100, n_ctx) + plain_image_step(32)
    assert plain >= 35 * step_flops(method, torch.randn(32, 512))


def test_cocoop_with_the_image_tower_costs_a_tenth_and_with_cached_features_a_twentieth(backbone):
    method = create_method("cocoop", backbone, NAMES[::20])
    images, features = torch.randn(1, 3, 224, 224), torch.randn(1, 512)
    plain = plain_text_step(50, n_ctx=4) + plain_image_step(1)
    ours = step_flops(method, features)
    assert plain >= 20 * ours
    assert plain >= 10 * (ours + flops(lambda: backbone.encode_image(images)))


@torch.no_grad()
def test_cocoop_s_evaluation_costs_a_twentieth_with_cached_features(backbone):
    """And a seventh with the image tower, which alone takes a tenth of what the plain path takes."""
    method = create_method("cocoop", backbone, NAMES[::20]).eval()
    plain = flops(plain_text(50, n_ctx=4, depth=1)) + flops(plain_images(1))
    ours = flops(lambda: method.logits(torch.randn(1, 512)))
    assert plain >= 20 * ours
    assert plain >= 6.9 * (ours + flops(lambda: backbone.encode_image(torch.randn(1, 3, 224, 224))))


@pytest.mark.slow
def test_an_image_of_tpt_costs_a_twenty_eighth_on_the_text_side(backbone):
    """The plain path runs 77 positions forwards and backwards at the first prompt, and forwards at the tuned one."""
    method = create_method("tpt", backbone, NAMES[::10]).eval()
    plain = plain_text_step(100, n_ctx=4) + flops(plain_text(100, n_ctx=4, depth=1))
    views = torch.randn(1, 64, 512)
    with torch.no_grad(), method.encode_classes_once():
        ours = flops(lambda: method.logits(views))
    assert plain >= 28 * ours


def test_maple_costs_a_third(backbone):
    method = create_method("maple", backbone, NAMES[::40])
    plain = plain_text_step(25, n_ctx=2, depth=9) + plain_image_step(2, n_ctx=2, depth=9)
    ours = step_flops(method, torch.randn(2, 3, 224, 224))
    assert plain >= 2.95 * ours


def grown_in_the_middle(blocks: nn.ModuleList, n: int, rows: int, width: int) -> Tensor:
    """All rows through all blocks, and 5 learnt rows more from block 5 on, as MMRL's code runs either tower."""
    x = run_plain(blocks[:5], torch.zeros(n, rows, width, device="meta"), torch.zeros(0, width, device="meta"), 1, 0)
    tokens = torch.zeros(5, width, device="meta", requires_grad=True)
    x = torch.cat([x[:, :1], tokens.expand(n, -1, -1), x[:, 1:]], dim=1)
    return run_plain(blocks[5:], x, tokens, start=1, depth=7).sum()


@pytest.mark.slow
def test_mmrl_costs_a_third(backbone):
    """The frozen blocks before the tokens enter run once for all texts of a training, and once for both images."""
    method, model = create_method("mmrl", backbone, NAMES[::40]), vit_b_16("meta")
    plain = flops(lambda: grown_in_the_middle(model.transformer.resblocks, 25, 77, 512).backward())
    plain += flops(lambda: grown_in_the_middle(model.visual.transformer.resblocks, 2, 197, 768).backward())
    plain += plain_image_step(2)
    ours = step_flops(method, torch.randn(2, 3, 224, 224))
    assert plain >= 2.9 * ours


def test_maple_keeps_a_quarter_of_the_activations(backbone):
    method = create_method("maple", backbone, NAMES[::20])
    images, labels = torch.randn(4, 3, 224, 224), torch.arange(4)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):  # what runs where nothing has to be counted
        one_prompt = kept_bytes(plain_text(1, n_ctx=2, depth=9, device="cpu"))
        one_image = kept_bytes(plain_images(1, n_ctx=2, depth=9, device="cpu"))
        ours = kept_bytes(lambda: method.loss(images, labels))
    assert 50 * one_prompt + 4 * one_image >= 4 * ours


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("coop", {}, 8_192),
        ("cocoop", {}, 35_360),
        ("kgcoop", {}, 2_048),
        ("prograd", {}, 8_192),
        ("vpt", {}, 73_728),
        ("ivlp", {}, 30_720),
        ("ivlp", {"n_ctx_text": 4, "n_ctx_vision": 0}, 24_576),
        ("maple", {}, 3_555_072),
        ("mmrl", {}, 4_992_256),
        ("maple", {"depth": 3}, 1_185_024),
        ("promptsrc", {}, 46_080),
        ("fdt", {}, 413_313),
        ("tcp", {}, 331_904),
        ("ctp_tft", {}, 526_336),  # two attentions of 2 * 3 * 512 * 128 + 2 * 128 * 512, and the context
        ("ctp_tft", {"mode": "feature"}, 526_336),
        ("promptkd", {}, 553_984),  # 1,013,760 with a teacher of width 768
    ],
)
def test_as_many_scalars_learn_as_the_papers_count(name, options, expected, backbone):
    method = create_method(name, backbone, NAMES[:2], **options)
    assert sum(parameter.numel() for parameter in method.learnt_parameters().values()) == expected


@pytest.mark.slow
def test_grounding_costs_less_than_2_percent_of_the_image_tower(backbone):
    method = create_method("fdt", backbone, NAMES[::10])
    rows = torch.randn(1, 197, 768)
    with torch.no_grad(), method.encode_classes_once():
        head = flops(lambda: method.grounded_logits(rows))
        tower = flops(lambda: backbone.encode_tokens(torch.randn(1, 3, 224, 224)))
    assert tower > 2 * 17e9
    assert head < 0.01 * tower  # 145 M products of 17.6 G
