"""Time the image tower at ViT-B/16 size, with only the class token leaving the last block, against open_clip's forward.

    python -m benchmarks.vision_tower [--repeats 5] [--threads 1] [--batch 8]

The weights are random, in fp32. The first comparison has no gradients (a frozen tower); the second has vision prompts
and their gradients, against the obvious path in which every row goes through every block.
"""

import argparse
from collections.abc import Callable, Mapping

import open_clip
import torch
from open_clip.transformer import VisionTransformer

from adaptkit import FrozenCLIP
from adaptkit.towers.linears import onednn_helps
from benchmarks.text_tower import under
from benchmarks.timing import Comparison, Cost, Step, compared, gflop, kept_mb, medians, write


def plain_prompts(visual: VisionTransformer, images: torch.Tensor, prompts: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Run the tower with prompts behind the patches, replaced before their block; all rows go through every block."""
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    n = len(prompts[0])
    x = visual.ln_pre(torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1))
    for layer, block in enumerate(visual.transformer.resblocks):
        if layer > 0 and layer in prompts:
            x = torch.cat([x[:, :-n], prompts[layer].expand(len(x), -1, -1)], dim=1)
        x = block(x)
    return visual.ln_post(x)[:, 0] @ visual.proj


def compare(
    name: str, plain: Callable[[], torch.Tensor], fast: Callable[[], torch.Tensor], repeats: int
) -> list[Comparison]:
    """Compare the paths once per GEMM library."""

    def whole(forward: Callable[[], torch.Tensor]) -> Step:
        def step() -> None:
            output = forward()
            if output.requires_grad:
                output.sum().backward()

        return step

    difference = (plain() - fast()).abs().max() / plain().abs().max()
    assert difference < 1e-4, f"the two paths differ by {difference}"
    modes = {"same GEMM": False, "oneDNN linears": True} if onednn_helps() else {"same GEMM": False}
    steps = [whole(plain), *(under(onednn, whole(fast)) for onednn in modes.values())]
    for step in steps:
        step()
    plain_seconds, *fast_seconds = medians(steps, repeats)
    plain_cost = Cost(plain_seconds, gflop(whole(plain)), kept_mb(plain))
    fast_gflop, fast_mb = gflop(whole(fast)), kept_mb(fast)
    return [
        compared(f"{name}, {mode}", plain_cost, Cost(seconds, fast_gflop, fast_mb))
        for mode, seconds in zip(modes, fast_seconds, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each path; the median counts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch", type=int, default=8, help="images")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False).requires_grad_(False).eval()
    twin = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    twin.load_state_dict(model.state_dict())  # the plain path keeps torch's own linear layers
    backbone = FrozenCLIP(twin, open_clip.get_tokenizer("ViT-B-16"), "ViT-B-16, random weights")
    images = torch.randn(args.batch, 3, 224, 224)
    prompts = {layer: torch.nn.Parameter(torch.randn(2, backbone.vision_width) * 0.02) for layer in range(9)}
    rows: list[Comparison] = []
    rows += compare(
        f"frozen, batch {args.batch}", lambda: model.visual(images), lambda: backbone.encode_image(images), args.repeats
    )
    rows += compare(
        f"2 prompts in 9 layers with gradients, batch {args.batch}",
        lambda: plain_prompts(model.visual, images, prompts),
        lambda: backbone.encode_image(images, prompts),
        args.repeats,
    )
    write("vision_tower", "Image tower, open_clip's forward or the obvious prompt path against ours", rows)


if __name__ == "__main__":
    main()
