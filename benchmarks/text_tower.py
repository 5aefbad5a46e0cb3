"""Time the text side of a CoOp step at ViT-B/16 size: the token tree against 77 positions of every class.

    python -m benchmarks.text_tower [--repeats 5] [--threads 1]

Forward and backward to the learnt context, real ImageNet names, random weights, fp32. The plain path is that of the
released code: every class, every position, unmodified blocks. 1,000 classes would keep some 38 GB, so it runs 100
classes at a time, ten times a step, and its kept activations are ten times those of one part (it needs them all at
once). "Same GEMM" switches the oneDNN linears off; the plain path never uses them. Both modes run in turn with it.
"""

import argparse
from collections.abc import Callable

import open_clip
import torch
from open_clip.model import CLIP

from adaptkit import ClassSet, FrozenCLIP
from adaptkit.layers.context import LearnedContext
from adaptkit.towers.linears import onednn_helps, use_onednn
from benchmarks.timing import Comparison, Cost, Step, compared, gflop, kept_mb, medians, write

N_CTX = 16
PART = 100  # number of classes that the plain path runs at once


def plain_step(model: CLIP, names: list[str], ctx: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Make the released code's step: assemble all prompts, run all positions, read off the end."""
    tokens = open_clip.tokenize([" ".join(["X"] * N_CTX) + f" {name}." for name in names])
    embedded = model.token_embedding(tokens).detach()

    def forward() -> torch.Tensor:
        shared = ctx.expand(len(names), -1, -1)
        x = torch.cat([embedded[:, :1], shared, embedded[:, 1 + N_CTX :]], dim=1) + model.positional_embedding
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
        return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection

    return forward


def under(onednn: bool, step: Step) -> Step:
    """Wrap the step to run with oneDNN linears on or off."""

    def run() -> None:
        with use_onednn(onednn):
            step()

    return run


def compare(model: torch.nn.Module, backbone: FrozenCLIP, n_classes: int, repeats: int) -> list[Comparison]:
    """Compare the paths once per GEMM library."""
    names = open_clip.IMAGENET_CLASSNAMES[:: 1000 // n_classes]
    ctx = torch.nn.Parameter(torch.randn(N_CTX, backbone.text_width) * 0.02)
    parts = n_classes // PART
    plain = plain_step(model, names[:PART], ctx)
    context = LearnedContext(backbone, ClassSet(tuple(names)), ctx.detach().clone())
    difference = (context()[:PART] - plain()).abs().max() / plain().abs().max()  # also the warm-up of both
    assert difference < 1e-4, f"the two paths differ by {difference}"

    def run_plain() -> None:
        for _ in range(parts):
            plain().sum().backward()

    def run_fast() -> None:
        context().sum().backward()

    modes = {"same GEMM": False, "oneDNN linears": True} if onednn_helps() else {"same GEMM": False}
    fast_steps = [under(onednn, run_fast) for onednn in modes.values()]
    for step in fast_steps:
        step()
    plain_seconds, *fast_seconds = medians((run_plain, *fast_steps), repeats)
    plain_cost = Cost(plain_seconds, parts * gflop(lambda: plain().sum().backward()), parts * kept_mb(plain))
    fast_gflop, fast_mb = gflop(run_fast), kept_mb(context)
    return [
        compared(f"CoOp, {N_CTX} tokens, {n_classes} classes, {mode}", plain_cost, Cost(seconds, fast_gflop, fast_mb))
        for mode, seconds in zip(modes, fast_seconds, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each path; the median counts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False).requires_grad_(False).eval()
    twin = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    twin.load_state_dict(model.state_dict())  # the plain path keeps torch's own linear layers
    backbone = FrozenCLIP(twin, open_clip.get_tokenizer("ViT-B-16"), "ViT-B-16, random weights")
    rows = []
    for n_classes, repeats in ((100, args.repeats), (1000, 1)):  # for 1,000 classes the plain path takes minutes
        rows += compare(model, backbone, n_classes, repeats)
    write("text_tower", "Text side of one CoOp step (forward and backward), plain against token tree", rows)


if __name__ == "__main__":
    main()
