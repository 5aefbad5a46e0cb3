"""Train a language adapter on pairs of an English text and its translation.

The teacher's features of English texts are made once. AdamW, with a linear warm-up and a cosine to 0 over all steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from adaptkit.options import option, options
from adaptkit.texts.babel import Babel, TextReader
from datasets_fewshot.languages.pairs import TextPair
from trainers.bounds import MOST_SEED

LEAST_COSINE = 0.95  # between adapted and frozen features of English texts, below which English has drifted
RATES = {"lora": 1e-4}
RATE = 5e-4  # of the other kinds


@options
class LanguageTraining:
    """How a language adapter is trained."""

    epochs: int = option(10, "Passes over the pairs.", least=1)
    lr: float | None = option(None, "AdamW's learning rate; null for 1e-4 with LoRA and 5e-4 with others.", above=0)
    batch_size: int = option(256, "Pairs of a step.", least=1)
    warmup: float = option(0.05, "Share of the steps in which the rate rises to its full height.", least=0, below=1)
    weight_decay: float = option(0.01, "AdamW's weight decay.", least=0)
    seed: int = option(1, "Of the order of pairs.", least=0, most=MOST_SEED)


@dataclass(frozen=True)
class Drift:
    """Cosines of adapted and frozen features of English texts: their mean, and the text that moved most."""

    mean: float
    least: float
    text: str

    @property
    def is_alarming(self) -> bool:
        """Whether English texts have moved so far that results in English may have changed."""
        return self.mean < LEAST_COSINE

    @property
    def sentence(self) -> str:
        """The drift in a sentence."""
        start = (
            f"cosine of English texts before and after: {self.mean:.3f} on average, {self.least:.3f} of {self.text!r}"
        )
        if not self.is_alarming:
            return start
        return f"{start}; below {LEAST_COSINE} English has drifted: train for less, or raise keep_english"


@dataclass(frozen=True)
class LanguageLog:
    """What a training went through."""

    losses: tuple[float, ...]  # the mean of each epoch
    drift: Drift  # on the English texts of the pairs
    cut: float  # share of the translations that are longer than the context


def train_language(head: Babel, pairs: Sequence[TextPair], settings: LanguageTraining) -> LanguageLog:
    """Train a head on pairs of texts.

    Raises:
        ValueError: if there are no pairs.
        ArithmeticError: if the loss is not finite.

    Example:
        ```python
        from trainers.fit.languages import LanguageTraining, train_language

        head = adaptkit.create_head("babel", adaptkit.load_backbone("adaptkit-mini"), language="de")
        log = train_language(head, [("dog", "Hund"), ("cat", "Katze")], LanguageTraining(epochs=2))
        print(log.drift.sentence)
        ```
    """
    if not pairs:
        raise ValueError("there are no pairs of texts; give one at least")
    english, translated = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    reader = head.reader
    ours, theirs = reader.tokens(translated), reader.tokens(english)  # (N, L)
    teacher = TextReader(head.teacher).encode(english)  # (N, D)
    rate = settings.lr or RATES.get(head.config.kind, RATE)
    optimizer = torch.optim.AdamW(head.learnt_parameters().values(), lr=rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(pairs) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_rate(step, steps, settings.warmup))
    generator, losses = torch.Generator().manual_seed(settings.seed), []
    head.train()
    for epoch in range(settings.epochs):
        total = 0.0
        for places in torch.randperm(len(pairs), generator=generator).split(settings.batch_size):
            loss = head.pair_loss(ours[places], theirs[places], teacher[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(places)
        losses.append(total / len(pairs))
        if not math.isfinite(losses[-1]):
            raise ArithmeticError(f"the loss is {losses[-1]} in epoch {epoch + 1}; lower the learning rate")
    head.eval()
    return LanguageLog(tuple(losses), english_drift(head, english), sum(reader.cut(translated)) / len(pairs))


def share_of_rate(step: int, steps: int, warmup: float) -> float:
    """The share of the learning rate in a step, counted from 0: it rises in a line, and falls along a cosine to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def english_drift(head: Babel, texts: Sequence[str]) -> Drift:
    """How far English texts have moved."""
    distinct = list(dict.fromkeys(texts))
    cosines = head.english_cosines(distinct)
    least = int(cosines.argmin())
    return Drift(float(cosines.mean()), float(cosines[least]), distinct[least])
