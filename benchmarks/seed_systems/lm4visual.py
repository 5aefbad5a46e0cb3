"""LM4Visual on four embedded data sets: the language block against its controls, and which tokens stand out behind it.

Every arm trains on kept rows of the image tower in the same way, at the rate that was best for its kind on validation
images. The controls are the same block with random weights and an MLP of as many learnt numbers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, Support, create_method
from adaptkit.layers.macs import block_macs, image_shape
from adaptkit.wrappers import LM4Visual, LM4VisualConfig
from adaptkit.wrappers.lm4visual.filtering import dominant_frequencies, magnitudes, overlap_with_foreground
from benchmarks.seed_systems import suite as suites
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.verdicts import beats, loses, sentence, verdict
from datasets_fewshot import load_dataset
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.training.few_shot import train

DATA = ("emoji_subgroups", "openclipart", "icons", "fashion_mnist")  # those with validation images
DRAWINGS = ("emoji_subgroups", "icons")  # on a plain ground, so that the foreground is known
SEEDS = (1, 2, 3)
SHOTS, STEPS, BATCH = 8, 100, 32
RATES = (0.0003, 0.001, 0.003, 0.01)
KINDS = ("text_block", "random_block", "mlp")
ADAPTER = "clip_adapter"
MOST_IMAGES = 300  # of a validation or test part, evenly spread
IMAGES_PER_PASS = 64
ROUNDS = 9  # of timing
FOREGROUND_SHARE = 0.25  # of a patch's pixels
SETTING = (
    f"Zero-shot inside, {', '.join(DATA)}, {SHOTS} shots, {len(SEEDS)} seeds, {STEPS} steps of AdamW; rates chosen on "
    "validation images for each arm and data set by the first seed; errors over data sets and seeds."
)
AT_DEFAULT_RATES = f"{SETTING} All arms of this row have the rates of the default options."
RUNS = tuple(product(DATA, SEEDS))
Run = tuple[str, int]  # data set, seed


# Data


@cache
def part(name: str, which: str) -> suites.Part:
    """A part of a data set, all of "train" or at most 300 images of "val" or "test", with the tower's rows."""
    dataset = load_dataset(name)
    items = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}[which]
    count = len(items) if which == "train" else min(MOST_IMAGES, len(items))
    chosen = [items[place] for place in torch.linspace(0, len(items) - 1, count).long().tolist()]
    with torch.no_grad():
        images = suites.images_of(dataset, chosen).split(IMAGES_PER_PASS)
        rows = torch.cat([suites.backbone().encode_tokens(some) for some in images])
    return suites.Part(dataset, chosen, rows, torch.tensor([item.label for item in chosen]))


def class_set(name: str, half: int | None = None) -> ClassSet:
    """All classes of a data set, or the first (0) or second (1) half of them."""
    names = part(name, "train").dataset.classnames
    middle = len(names) // 2
    return ClassSet(names if half is None else names[:middle] if half == 0 else names[middle:])


def of_half(name: str, rows: Tensor, labels: Tensor, half: int | None) -> tuple[Tensor, Tensor]:
    """The rows of a half of the classes, with labels counted within it."""
    if half is None:
        return rows, labels
    middle = len(part(name, "train").dataset.classnames) // 2
    kept = (labels < middle) if half == 0 else (labels >= middle)
    return rows[kept], labels[kept] - half * middle


def consumed(method: AdaptedCLIP, rows: Tensor) -> Tensor:
    """Rows of the tower as a method consumes them."""
    return rows if method.consumes == "tokens" else suites.backbone().project_tokens(rows[:, 0])


@torch.no_grad()
def score(method: AdaptedCLIP, name: str, which: str, half: int | None = None) -> float:
    """Accuracy on a part of a data set, in percent."""
    rows, labels = of_half(name, part(name, which).features, part(name, which).labels, half)
    with method.encode_classes_once():
        logits = torch.cat([method.logits(consumed(method, some)) for some in rows.split(IMAGES_PER_PASS)])
    return suites.accuracy(logits, labels)


# Training


def made(run: Run, half: int | None = None, **options: Any) -> AdaptedCLIP:
    """Zero-shot with a language block; with kind="clip_adapter" the widest CLIP-Adapter, and with no options itself."""
    torch.manual_seed(run[1])
    classes, backbone = class_set(run[0], half), suites.backbone()
    if options.get("kind") == ADAPTER:
        return create_method(ADAPTER, backbone, classes, reduction=1)
    wrap = [("lm4visual", LM4VisualConfig(**options))] if options else []
    return create_method("zero_shot", backbone, classes, wrap=wrap)


def learnt(run: Run, rate: float, half: int | None = None, **options: Any) -> AdaptedCLIP:
    """A method trained on the shots of a run."""
    method, images = made(run, half, **options), part(run[0], "train")
    places = images.shots(SHOTS, run[1])
    rows, labels = of_half(run[0], images.features[places], images.labels[places], half)
    x = consumed(method, rows)
    optim = OptimConfig(
        name="adamw", lr=rate, weight_decay=0.05, steps=STEPS, lr_scheduler="cosine_steps", clip_norm=1.0
    )
    train(
        method, FeatureBatches(x[:, None], labels, ViewConfig("none"), BATCH, True, run[1]), optim, Support(x, labels)
    )
    return method.eval()


@cache
def rate_of(kind: str, name: str, where: str = "tokens") -> float:
    """The rate that is best on the validation images of a data set, by the first seed."""

    def right(rate: float) -> float:
        return score(learnt((name, SEEDS[0]), rate, kind=kind, where=where), name, "val")

    return max(RATES, key=right)


@cache
def method_of(kind: str, run: Run, where: str = "tokens") -> AdaptedCLIP:
    return learnt(run, rate_of(kind, run[0], where), kind=kind, where=where)


@cache
def accuracies_of(kind: str, where: str = "tokens") -> list[float]:
    """Test accuracy of every run of an arm."""
    return [score(method_of(kind, run, where), run[0], "test") for run in RUNS]


@cache
def zero_shot_accuracies() -> list[float]:
    return [score(made(run), run[0], "test") for run in RUNS]


def accuracies_with(**options: Any) -> list[float]:
    """Test accuracy of every run of the text block with other options, at the rates of the default ones."""
    return [
        score(learnt(run, rate_of("text_block", run[0]), kind="text_block", **options), run[0], "test") for run in RUNS
    ]


# Findings


def measure() -> list[Finding]:
    """Measure the claims."""
    return [
        block_helps(),
        language_matters(),
        any_block(),
        tokens_matter(),
        start_matters(),
        other_classes(),
        filtering(),
        costs(),
        Finding(
            "ViT-S trained from scratch on ImageNet gains 0.6 points (80.1 to 80.7)",
            "released logs, with a LLaMA-7B block",
            "It needs ImageNet, 300 epochs and LLaMA's weights; the block's formula is compared with recorded numbers.",
            (),
            "not tested",
            "No tower is trained from scratch here.",
        ),
    ]


def sentences(gains: Sequence[Value]) -> str:
    return " ".join(sentence(gain, gain.what) for gain in gains)


def block_helps() -> Finding:
    own = accuracies_of("text_block")
    gains = [
        difference("block minus zero-shot", own, zero_shot_accuracies()),
        difference("block minus CLIP-Adapter", own, accuracies_of(ADAPTER)),
    ]
    return Finding(
        "A frozen language block behind the image tower raises accuracy",
        "abstract; around a frozen CLIP ours",
        f"{SETTING} CLIP-Adapter is the widest, with {learnt_numbers(ADAPTER):,} learnt numbers beside "
        f"{learnt_numbers('text_block'):,}.",
        (over("zero-shot", zero_shot_accuracies()), over("with the block", own), *gains),
        verdict(*map(beats, gains)),
        sentences(gains),
    )


def learnt_numbers(kind: str) -> int:
    return sum(weight.numel() for weight in made(RUNS[0], kind=kind).learnt_parameters().values())


def language_matters() -> Finding:
    own = accuracies_of("text_block")
    controls = {"a random block": "random_block", "an MLP": "mlp"}
    gains = [difference(f"text block minus {name}", own, accuracies_of(kind)) for name, kind in controls.items()]
    return Finding(
        "The gain comes from the block's language pre-training",
        "implied by the paper; the controls are ours",
        f"{SETTING} The random block has the moments of the text block's weights; the MLP has as many learnt numbers.",
        (*(over(f"with {name}", accuracies_of(kind)) for name, kind in controls.items()), *gains),
        verdict(*map(beats, gains)),
        sentences(gains),
    )


def any_block() -> Finding:
    names = {0: "the first block", 1: "the middle block"}
    scores = {name: accuracies_with(block=number) for number, name in names.items()} | {
        "the last block": accuracies_of("text_block")
    }
    gains = [difference(f"{name} minus zero-shot", found, zero_shot_accuracies()) for name, found in scores.items()]
    return Finding(
        "Any block of the language tower will do",
        "abstract",
        AT_DEFAULT_RATES,
        (*gains, difference("last minus first", scores["the last block"], scores["the first block"])),
        verdict(*map(beats, gains)),
        sentences(gains),
    )


def tokens_matter() -> Finding:
    pooled = accuracies_of("text_block", "pooled")
    gain = difference("tokens minus the pooled feature", accuracies_of("text_block"), pooled)
    return Finding(
        "The block needs the tokens: on the pooled feature alone it gains less",
        "ours",
        SETTING,
        (over("on the pooled feature", pooled), gain),
        verdict(beats(gain)),
        sentences([gain]),
    )


def start_matters() -> Finding:
    own = accuracies_of("text_block")
    others: Mapping[str, Mapping[str, Any]] = {
        "truncated normal maps": {"init": "trunc_normal"},
        "unscaled maps": {"match_rms": False},
        "no final norm": {"final_norm": False},
    }
    gains = [difference(f"default minus {name}", own, accuracies_with(**options)) for name, options in others.items()]
    return Finding(
        "Maps that start at principal directions, as large as text tokens, and the final norm help with few shots",
        "ours",
        AT_DEFAULT_RATES,
        tuple(gains),
        verdict(*map(beats, gains)),
        sentences(gains),
    )


def other_classes() -> Finding:
    """Learnt on the first half of the classes, tested on both."""
    before: dict[int, list[float]] = {0: [], 1: []}
    after: dict[tuple[str, int], list[float]] = {(kind, half): [] for kind in ("text_block", "mlp") for half in (0, 1)}
    for run in RUNS:
        for half in (0, 1):
            before[half].append(score(made(run, half), run[0], "test", half))
        for kind in ("text_block", "mlp"):
            method = learnt(run, rate_of(kind, run[0]), 0, kind=kind)
            after[kind, 0].append(score(method, run[0], "test", 0))
            method.set_classes(class_set(run[0], 1))
            after[kind, 1].append(score(method, run[0], "test", 1))
    base = difference("change on learnt classes", after["text_block", 0], before[0])
    new = difference("change on other classes", after["text_block", 1], before[1])
    against = difference("on other classes, block minus MLP", after["text_block", 1], after["mlp", 1])
    return Finding(
        "What is learnt on some classes does not harm zero-shot on others",
        "ours",
        f"{SETTING} Learnt on the first half of the classes at the rates for all, tested on each half.",
        (over("zero-shot on other classes", before[1]), base, new, against),
        verdict(beats(base), not loses(new)),
        sentences([base, new, against]),
    )


# Which tokens stand out


@cache
def foreground(name: str) -> tuple[Tensor, Tensor]:
    """Test images (N, 3, H, W) of drawings, and which patches (N, P) show something else than the corner."""
    images = suites.images_of(part(name, "test").dataset, part(name, "test").items)
    tower = suites.backbone().require_vit_blocks("the benchmark")
    differs = ((images - images[:, :, :1, :1]).abs().amax(dim=1) > 0.1).float()  # (N, H, W)
    shares = torch.nn.functional.adaptive_avg_pool2d(differs[:, None], tower.grid).flatten(1)
    return images, shares > FOREGROUND_SHARE


def filtering() -> Finding:
    overlaps: dict[str, list[float]] = {key: [] for key in ("before", "chance", *KINDS)}
    frequencies: dict[str, list[float]] = {"before": [], "text_block": []}
    for run in product(DRAWINGS, SEEDS):
        images, shown = foreground(run[0])
        some = shown.any(dim=1) & ~shown.all(dim=1)
        for kind in KINDS:
            method = method_of(kind, run)
            assert isinstance(method, LM4Visual)
            x, x3 = (rows[some, 1:] for rows in method.tokens_before_and_after(images))
            overlaps[kind].append(overlap(x3, shown[some]))
            if kind == "text_block":
                overlaps["before"].append(overlap(x, shown[some]))
                frequencies["before"].append(float(dominant_frequencies(x).float().mean()))
                frequencies[kind].append(float(dominant_frequencies(x3).float().mean()))
        draws = torch.rand(shown[some].shape, generator=torch.Generator().manual_seed(run[1]))
        overlaps["chance"].append(100 * float(overlap_with_foreground(draws, shown[some]).mean()))
    gains = [
        difference("block minus before", overlaps["text_block"], overlaps["before"]),
        difference("block minus a random block", overlaps["text_block"], overlaps["random_block"]),
    ]
    names = {"random patches": "chance", "before the block": "before", "behind the text block": "text_block"}
    names |= {"behind the random block": "random_block", "behind the MLP": "mlp"}
    return Finding(
        "The block makes informative tokens stand out",
        "section 5, information filtering",
        f"Overlap (intersection over union) of the quarter of patches with the largest centred length with the "
        f"foreground, test images of {', '.join(DRAWINGS)}, blocks of the runs above; errors over data sets and seeds.",
        (
            *(over(f"overlap, {name}", overlaps[key]) for name, key in names.items()),
            *gains,
            difference("change of the mean dominant frequency", frequencies["text_block"], frequencies["before"], ""),
        ),
        verdict(*map(beats, gains)),
        sentences(gains),
    )


def overlap(rows: Tensor, shown: Tensor) -> float:
    return 100 * float(overlap_with_foreground(magnitudes(rows), shown).mean())


# Costs


def costs() -> Finding:
    method, plain, shape = made(RUNS[0], kind="text_block"), made(RUNS[0]), image_shape(suites.backbone())
    architecture = method.architecture()
    assert architecture is not None
    macs = architecture.macs
    added = macs["image"] - macs["image_as_loaded"]
    times = seconds_in_turn([method.eval(), plain.eval()])
    slower = over("more time for an image", [100 * (one / other - 1) for one, other in zip(*times, strict=True)])
    share, of_one_block = added / block_macs(shape), 100 / shape.depth
    return Finding(
        "It costs no more than one more block of the image tower",
        "ours; the paper adds one block of LLaMA-7B",
        f"The embedded model of {shape.depth} blocks, {torch.get_num_threads()} CPU threads, batches of "
        f"{IMAGES_PER_PASS}, in turns; errors over rounds.",
        (
            Value("thousands of learnt numbers", learnt_numbers("text_block") / 1000, unit=""),
            Value("multiply-accumulates added", 100 * added / macs["image_as_loaded"]),
            Value("the same, in blocks of the image tower", share, unit=""),
            slower,
        ),
        verdict(share <= 1, slower.value <= of_one_block),
        f"It adds {share:.2f} of a block's multiply-accumulates and {slower.value:.0f} % of time, beside "
        f"{of_one_block:.0f} % for one of {shape.depth} blocks. The last block computes all of its rows for it, not "
        "the class token's alone.",
    )


@torch.no_grad()
def seconds_in_turn(methods: Sequence[AdaptedCLIP]) -> list[list[float]]:
    """Seconds of every round for each method's image features, behind one round that does not count."""
    images = torch.randn(IMAGES_PER_PASS, 3, *suites.backbone().preprocess_cfg.image_size)
    rounds = [[timed(method.encode_image, images) for method in methods] for _ in range(ROUNDS + 1)][1:]
    return [list(each) for each in zip(*rounds, strict=True)]


def timed(run: Callable[[Tensor], Tensor], images: Tensor) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start
