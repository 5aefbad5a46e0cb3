"""DreamLIP's losses on the embedded pairs with long captions: the caption, its sentences, and groups of patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import AdaptedCLIP, create_method, create_objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.objectives.dreamlip import DreamLIP, DreamLIPConfig, pieces_of, sentence_scores
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.pair_suite import guard_accuracy, looking, part, train
from benchmarks.seed_systems.suite import backbone
from benchmarks.verdicts import beats, loses, sentence, verdict
from trainers.config.training import OptimConfig
from trainers.evaluation.retrieval import PairScores
from trainers.pairs.judging import encoded_images, encoded_texts

LONG, SHORT, SEEDS = "mini_pairs_long", "mini_pairs", (1, 2, 3)
ARMS: Mapping[str, DreamLIPConfig] = {
    "caption": DreamLIPConfig(texts=0, grouping=0),
    "sentences": DreamLIPConfig(grouping=0),
    "sentences and patches": DreamLIPConfig(),
    "1 sentence": DreamLIPConfig(texts=1, grouping=0),
    "2 sentences": DreamLIPConfig(texts=2, grouping=0),
    "delta 0.5": DreamLIPConfig(delta=0.5),
    "released order": DreamLIPConfig(code_order=True),
}
HEADS = OptimConfig(
    name="adamw", lr=1e-3, weight_decay=0.05, epochs=8, batch_size=256, lr_scheduler="cosine_steps", warmup_epochs=0
)
LORA = OptimConfig(
    name="adamw", lr=1e-3, weight_decay=0.05, epochs=3, batch_size=128, lr_scheduler="cosine_steps", warmup_epochs=0
)
BETA = 0.5
SHORTLIST = 100
HEADS_SETTING = (
    "mini_pairs_long, heads behind the frozen embedded model (`ranking_heads`), pooled features and patches through "
    "the same head; AdamW at 1e-3, batches of 256, 8 epochs, the epoch with the best rsum on validation pairs; 3 seeds"
)
LORA_SETTING = (
    "mini_pairs_long, clip_lora in both towers; AdamW at 1e-3, batches of 128, 3 epochs, the epoch with the best rsum "
    "on validation pairs; 3 seeds"
)


@dataclass(frozen=True)
class Outcome:
    """One training, on test parts."""

    long: PairScores
    short: PairScores
    reranked: float  # recall@1 of images by long text in percent, with the sentences' groups on the shortlist
    guard: float


def measure() -> list[Finding]:
    """Measure the claims."""
    before = trained("ranking_heads", "", 0)
    heads = {arm: [trained("ranking_heads", arm, seed) for seed in SEEDS] for arm in ARMS}
    lora = {arm: [trained("clip_lora", arm, seed) for seed in SEEDS] for arm in ("caption", "sentences and patches")}
    return [
        _sentences(before, heads),
        _patches(heads),
        _number(heads),
        _lora(before, lora),
        _again(heads),
        _forgotten(before, heads),
    ]


def _sentences(before: Outcome, heads: Mapping[str, Sequence[Outcome]]) -> Finding:
    long = _gain("long captions", heads["sentences"], heads["caption"], "long")
    short = _gain("short captions", heads["sentences"], heads["caption"], "short")
    start = (
        over("rsum of zero-shot with long captions", [before.long.rsum], "points"),
        over("rsum of zero-shot with short captions", [before.short.rsum], "points"),
    )
    plain = _gain("training on the caption alone against zero-shot, long captions", heads["caption"], [before] * 3)
    return Finding(
        "sub-captions as positives of their own help retrieval",
        "paper",
        HEADS_SETTING,
        (*start, plain, long, short),
        verdict(beats(long), beats(short)),
        sentence(long, "six sentences over the caption alone, long captions")
        + " "
        + sentence(short, "the same with short captions"),
    )


def _patches(heads: Mapping[str, Sequence[Outcome]]) -> Finding:
    long = _gain("long captions", heads["sentences and patches"], heads["sentences"], "long")
    short = _gain("short captions", heads["sentences and patches"], heads["sentences"], "short")
    delta = _gain("delta 0.5 over 0, long captions", heads["delta 0.5"], heads["sentences and patches"], "long")
    order = _gain(
        "the released order over the paper's, long captions", heads["released order"], heads["sentences and patches"]
    )
    return Finding(
        "grouping the patches of each sub-caption helps on top of them",
        "paper",
        HEADS_SETTING,
        (long, short, delta, order),
        verdict(beats(long), beats(short)),
        sentence(long, "patch groups on top of sentences, long captions")
        + " "
        + sentence(order, "mixing images up as released"),
    )


def _number(heads: Mapping[str, Sequence[Outcome]]) -> Finding:
    gains = tuple(
        _gain(f"{arm} over none, long captions", heads[arm], heads["caption"])
        for arm in ("1 sentence", "2 sentences", "sentences")
    )
    return Finding(
        "more sub-captions for each image are better",
        "paper",
        HEADS_SETTING,
        gains,
        verdict(beats(gains[0]), gains[2].value > gains[1].value > gains[0].value),
        "One, two and six sentences, in this order; the means are compared, each with its own standard error.",
    )


def _lora(before: Outcome, lora: Mapping[str, Sequence[Outcome]]) -> Finding:
    gain = _gain(
        "sentences and patches over the caption alone, long captions", lora["sentences and patches"], lora["caption"]
    )
    short = _gain("the same with short captions", lora["sentences and patches"], lora["caption"], "short")
    start = _gain("sentences and patches over zero-shot, long captions", lora["sentences and patches"], [before] * 3)
    return Finding(
        "the losses adapt towers through low-rank updates",
        "ours",
        LORA_SETTING,
        (start, gain, short),
        verdict(beats(gain), beats(start)),
        sentence(gain, "all losses over the caption alone"),
    )


def _again(heads: Mapping[str, Sequence[Outcome]]) -> Finding:
    own = heads["sentences and patches"]
    gain = difference(
        "recall@1 of images by long text, ranked again by groups minus before",
        [outcome.reranked for outcome in own],
        [outcome.long.text_to_image.recall[1] for outcome in own],
    )
    return Finding(
        f"groups of the sentences rank the first {SHORTLIST} again, beta {BETA}",
        "ours",
        HEADS_SETTING,
        (gain,),
        verdict(beats(gain)),
        sentence(gain, "the change"),
    )


def _forgotten(before: Outcome, heads: Mapping[str, Sequence[Outcome]]) -> Finding:
    changes = [
        difference(
            f"accuracy on icons, {arm} minus zero-shot", [o.guard for o in heads[arm]], [before.guard] * len(SEEDS)
        )
        for arm in ("caption", "sentences and patches")
    ]
    return Finding(
        "accuracy on classes that the pairs say nothing of is kept",
        "ours",
        f"{HEADS_SETTING}; before: {before.guard:.1f} % on icons",
        tuple(changes),
        verdict(not loses(changes[1])),
        sentence(changes[1], "the change with all losses"),
    )


def _gain(what: str, first: Sequence[Outcome], second: Sequence[Outcome], captions: str = "long") -> Value:
    def rsums(outcomes: Sequence[Outcome]) -> list[float]:
        return [getattr(outcome, captions).rsum for outcome in outcomes]

    return difference(f"{what}, change of rsum", rsums(first), rsums(second))


@cache
def trained(name: str, arm: str, seed: int) -> Outcome:
    """Train a method with the losses of an arm; no arm trains nothing."""
    frozen = backbone()
    torch.manual_seed(seed)
    method = create_method(name, frozen, None)
    objective = create_objective(method, [("dreamlip", ARMS[arm or "caption"])])
    assert isinstance(objective, PairObjective)
    if arm:
        train(method, objective, LONG, HEADS if name == "ranking_heads" else LORA, seed)
    test = part(LONG, "test")
    reranked = ranked_again(method) if name == "ranking_heads" and ARMS[arm or "caption"].grouping else 0.0
    return Outcome(test.scores(method), part(SHORT, "test").scores(method), reranked, guard_accuracy(method))


@torch.no_grad()
def ranked_again(method: AdaptedCLIP) -> float:
    """Recall@1 in percent of images by long text, with the sentences' groups on the first images of each text."""
    test = part(LONG, "test")
    objective = create_objective(method, [("dreamlip", DreamLIPConfig())])
    assert isinstance(objective, DreamLIP)
    rows = F.normalize(objective.image_side(method.eval(), patch_rows()), dim=-1)  # (N, 1 + P, D)
    texts = F.normalize(test.texts_of(method), dim=-1)
    right = []
    for place, (text, image) in enumerate(zip(texts, test.captions.image.tolist(), strict=True)):
        shortlist = (rows[:, 0] @ text).topk(SHORTLIST).indices
        sentences = F.normalize(encoded_texts(method, pieces_of([test.captions.texts[place]], 3), "fp32"), dim=-1)
        scores = sentence_scores(rows[shortlist, 0], rows[shortlist, 1:], text, sentences, BETA)
        right.append(int(shortlist[scores.argmax()]) == image)
    return 100 * sum(right) / len(right)


@cache
def patch_rows() -> Tensor:
    """Projected rows (N, 1 + P, D) of the test images behind the frozen image tower."""
    test, method = part(LONG, "test"), create_method("ranking_heads", backbone(), None)
    objective = DreamLIP(method, None, DreamLIPConfig())
    return encoded_images(method, test.dataset, test.items, looking(), partial(objective.image_input, method))
