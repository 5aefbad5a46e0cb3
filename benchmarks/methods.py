"""Whole training steps and evaluations of methods at ViT-B/16 size: the released codes' path against ours.

    python -m benchmarks.methods [--only cocoop] [--repeats 3] [--threads 2] [--model tiny]

Random weights, real ImageNet names, fp32, forward and backward, no optimiser. The plain path (`plain_methods.py`) runs
77 positions of every prompt and the image tower in every step. Both paths run in turn in one process, and their losses
and gradients, or logits, must agree. "Same GEMM" switches the oneDNN linears off; the plain path never uses them.
ViT-B/16 takes about ten minutes on two quiet cores; `--model tiny` tries the script out and writes no results.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import AdaptedCLIP, create_method
from adaptkit.towers.linears import onednn_helps, use_onednn
from benchmarks import plain_methods as plain
from benchmarks.models import classnames, twins
from benchmarks.timing import Comparison, Cost, compared, gflop, kept_mb, medians, report, save

TOLERANCE = 1e-3  # relative to each result's norm: fp32 rounding through 24 blocks and a scale of 100
PHRASE = "a photo of a"
LONG_STEP_REPEATS = 2  # repeats for steps whose plain path takes a quarter of a minute

Results = Mapping[str, Tensor]  # logits, or a loss and gradients, by name
Path = Callable[[], Results]


@dataclass(frozen=True)
class Case:
    """One result that both paths compute; the fast path may have a variant with precomputed image features."""

    name: str
    plain: Path
    fast: Mapping[str, Path]
    max_repeats: int = 100


class Models:
    """Models with equal weights for both paths, and their batches."""

    def __init__(self, size: str):
        self.plain, self.backbone = twins(size)
        self.image_size = self.backbone.preprocess_cfg.image_size

    def batch(self, count: int, n_classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images (B, 3, H, W), with their features (B, D) and labels (B,)."""
        images = torch.randn(count, 3, *self.image_size)
        with torch.no_grad():
            features = self.backbone.encode_image(images)
        return images, features, torch.arange(count) % n_classes

    def method(self, name: str, n_classes: int) -> tuple[AdaptedCLIP, plain.Learnt]:
        """Make a method in training mode, and copies of its learnt tensors for the plain path."""
        method = create_method(name, self.backbone, classnames(n_classes)).train()
        return method, {name: value.requires_grad_() for name, value in method.learnt_state().items()}

    def prompts(self, words: str, n_classes: int) -> plain.Prompts:
        return plain.make_prompts(self.plain, words, classnames(n_classes))


def step(method: AdaptedCLIP, x: Tensor, labels: Tensor) -> Results:
    """Our training step on the method's input."""
    method.zero_grad()
    loss = method.backward(x, labels)
    gradients = {name: value.grad for name, value in method.learnt_parameters().items() if value.grad is not None}
    return {"loss": loss, **gradients}


def step_on_images(method: AdaptedCLIP, images: Tensor, labels: Tensor) -> Results:
    """Our training step on images, for a method that consumes features: the image tower runs within it."""
    with torch.no_grad():
        features = method.backbone.encode_image(images)
    return step(method, features, labels)


def plain_step(loss: Callable[[plain.Learnt], Tensor], learnt: plain.Learnt) -> Results:
    value, gradients = plain.with_gradients(loss, learnt)
    return {"loss": value, **gradients}


@torch.no_grad()
def logits_only(logits: Callable[[], Tensor]) -> Results:
    return {"logits": logits()}


def coop(models: Models) -> Case:
    images, features, labels = models.batch(32, 100)
    method, learnt = models.method("coop", 100)
    prompts = models.prompts(" ".join(["X"] * 16), 100)

    def loss(learnt: plain.Learnt) -> Tensor:
        return F.cross_entropy(plain.coop_logits(models.plain, prompts, learnt, images), labels)

    fast = {"fixed views": partial(step, method, features, labels)}
    return Case("CoOp, 16 tokens, 100 classes, batch 32", partial(plain_step, loss, learnt), fast, LONG_STEP_REPEATS)


def template_weights(models: Models, n_classes: int) -> Tensor:
    """Features (C, D) of "a photo of a NAME.", of unit length, which the released codes compute once."""
    prompts = models.prompts(PHRASE, n_classes)
    with torch.no_grad():
        features = plain.encode_prompts(models.plain, prompts, prompts.embedded[0, 1:5])
    return F.normalize(features, dim=-1)


def kgcoop(models: Models) -> Case:
    images, features, labels = models.batch(32, 100)
    method, learnt = models.method("kgcoop", 100)
    prompts, weights = models.prompts(PHRASE, 100), template_weights(models, 100)

    def loss(learnt: plain.Learnt) -> Tensor:
        return plain.kgcoop_loss(models.plain, prompts, weights, learnt, images, labels)

    fast = {"fixed views": partial(step, method, features, labels)}
    return Case("KgCoOp, 4 tokens, 100 classes, batch 32", partial(plain_step, loss, learnt), fast, LONG_STEP_REPEATS)


def cocoop(models: Models) -> Case:
    images, features, labels = models.batch(1, 50)
    method, learnt = models.method("cocoop", 50)
    prompts = models.prompts(PHRASE, 50)

    def loss(learnt: plain.Learnt) -> Tensor:
        return F.cross_entropy(plain.cocoop_logits(models.plain, prompts, learnt, images), labels)

    fast = {
        "image tower run": partial(step_on_images, method, images, labels),
        "cached features": partial(step, method, features, labels),
    }
    return Case("CoCoOp, 4 tokens, 50 classes, batch 1", partial(plain_step, loss, learnt), fast)


def maple(models: Models) -> Case:
    images, _, labels = models.batch(4, 50)
    method, learnt = models.method("maple", 50)
    prompts = models.prompts(PHRASE, 50)

    def loss(learnt: plain.Learnt) -> Tensor:
        return F.cross_entropy(plain.maple_logits(models.plain, prompts, learnt, images), labels)

    fast = {"images": partial(step, method, images, labels)}
    return Case("MaPLe, 2 tokens, depth 9, 50 classes, batch 4", partial(plain_step, loss, learnt), fast)


def prograd(models: Models) -> Case:
    images, features, labels = models.batch(32, 100)
    method, learnt = models.method("prograd", 100)
    prompts, weights = models.prompts(" ".join(["X"] * 16), 100), template_weights(models, 100)

    def plain_gradients() -> Results:
        loss, gradients = plain.prograd_gradients(models.plain, prompts, weights, learnt, images, labels)
        return {"loss": loss.detach(), **gradients}

    fast = {"fixed views": partial(step, method, features, labels)}
    return Case("ProGrad, two gradients, 16 tokens, 100 classes, batch 32", plain_gradients, fast, LONG_STEP_REPEATS)


def promptsrc(models: Models) -> Case:
    images, _, labels = models.batch(4, 50)
    method, learnt = models.method("promptsrc", 50)
    prompts = models.prompts(PHRASE, 50)
    step(method, images, labels)  # encodes the 60 templates, once for both paths
    frozen_text = method.get_buffer("frozen_weights")

    def loss(learnt: plain.Learnt) -> Tensor:
        return plain.promptsrc_loss(models.plain, prompts, frozen_text, learnt, images, labels)

    fast = {"images": partial(step, method, images, labels)}
    return Case("PromptSRC, 4 tokens, depth 9, 50 classes, batch 4", partial(plain_step, loss, learnt), fast)


def cocoop_evaluation(models: Models) -> Case:
    images, features, _ = models.batch(2, 50)
    method, learnt = models.method("cocoop", 50)
    method.eval().requires_grad_(False)
    prompts = models.prompts(PHRASE, 50)
    return Case(
        "CoCoOp evaluation, 50 classes, 2 images",
        partial(logits_only, lambda: plain.cocoop_logits(models.plain, prompts, learnt, images)),
        {
            "image tower run": partial(logits_only, lambda: method(images)),
            "cached features": partial(logits_only, lambda: method.logits(features)),
        },
    )


def coop_evaluation(models: Models) -> Case:
    images, features, _ = models.batch(100, 1000)
    method, learnt = models.method("coop", 1000)
    method.eval().requires_grad_(False)
    prompts = models.prompts(" ".join(["X"] * 16), 1000)
    with method.encode_classes_once():
        weights = method.current_class_weights()

    def with_kept_weights() -> Tensor:
        return method.backbone.logits(features, weights)

    return Case(
        "CoOp evaluation, 1,000 classes, a batch of 100 images",
        partial(logits_only, lambda: plain.coop_logits(models.plain, prompts, learnt, images)),
        {
            "first batch, image tower run": partial(logits_only, lambda: method(images)),
            "later batches, cached features": partial(logits_only, with_kept_weights),
        },
        max_repeats=1,
    )


CASES: dict[str, Callable[[Models], Case]] = {
    "cocoop": cocoop,
    "coop": coop,
    "kgcoop": kgcoop,
    "maple": maple,
    "prograd": prograd,
    "promptsrc": promptsrc,
    "cocoop_evaluation": cocoop_evaluation,
    "coop_evaluation": coop_evaluation,
}


def check_equal(expected: Results, actual: Results, case: str) -> None:
    """Compare two paths' results.

    Raises:
        AssertionError: if any result differs by more than rounding.
    """
    assert expected.keys() == actual.keys(), f"{case}: {sorted(expected)} against {sorted(actual)}"
    for name, value in expected.items():
        difference, norm = float((actual[name] - value).norm()), float(value.norm())
        assert difference <= TOLERANCE * norm, f"{case}: {name} differs by {difference:.1e}, and its norm is {norm:.1e}"


def first_run(path: Path) -> tuple[Results, float]:
    """Results of a path's first run, and the megabytes kept to compute them."""
    results: list[Results] = []
    kept = kept_mb(lambda: results.append(path()))
    return results[0], kept


def compare(case: Case, repeats: int) -> list[Comparison]:
    """Compare each variant of the fast path with the plain one, with and without oneDNN linears if they matter."""
    expected, plain_kept = first_run(case.plain)
    plain_gflop = gflop(case.plain)
    names: list[str] = []
    paths: list[Path] = []
    counted: list[tuple[float, float]] = []  # GFLOP and megabytes
    for way, path in case.fast.items():
        actual, kept = first_run(path)
        check_equal(expected, actual, f"{case.name}, {way}")
        flops = gflop(path)
        for same_gemm in (True, False) if onednn_helps() else (True,):
            names.append(f"{case.name}; {way}; {'same GEMM' if same_gemm else 'oneDNN linears'}")
            paths.append(partial(_with_gemm, path, same_gemm))
            counted.append((flops, kept))
            paths[-1]()  # warm-up
    plain_seconds, *seconds = medians([case.plain, *paths], min(repeats, case.max_repeats))
    plain_cost = Cost(plain_seconds, plain_gflop, plain_kept)
    return [
        compared(name, plain_cost, Cost(taken, *cost))
        for name, taken, cost in zip(names, seconds, counted, strict=True)
    ]


def _with_gemm(path: Path, same_gemm: bool) -> Results:
    with use_onednn(not same_gemm):
        return path()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES), help="cases to run; writes no results")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each path; the median counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--model", choices=("ViT-B-16", "tiny"), default="ViT-B-16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    models = Models(args.model)
    rows: list[Comparison] = []
    for name in args.only:
        new = compare(CASES[name](models), args.repeats)
        report(new)
        rows += new
    if args.model == "ViT-B-16" and args.only == list(CASES):
        save("methods", "Training steps and evaluations of whole methods, the released codes' path against ours", rows)


if __name__ == "__main__":
    main()
