"""SVLC: structured vision-language concepts, taught by texts with one word that is wrong and texts that say the same.

Doveh et al., "Teaching Structured Vision & Language Concepts to Vision & Language Models", arXiv:2211.11733:
    negatives   a word of a caption replaced by another one of its kind      (augmenter.py)
    positives   the caption in other words                                   (augmenter.py, inversions.py)
    L = L_con + neg_w L_neg + L_pos                                          (losses.py)

Departure: the paper trains LoRA in both towers; here the method says what learns. Where a method's low-rank updates
    start at zero, training starts at CLIP; the released code draws both factors of the attention's input at random.
Departure: s is the backbone's own and is not trained, as in the released code with LoRA.
Departure: word lists, positives and the replacement itself are ours, see augmenter.py.
Departure: a negative is missing where it cannot be told from the caption or the positive once it is cut to the context,
    and where it is another caption of the same image.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective, text_is_there
from adaptkit.contract.registry import register_objective
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.image_texts import read_captions, texts_file
from adaptkit.objectives.svlc.augmenter import CaptionAugmenter, Source
from adaptkit.objectives.svlc.losses import NegativeAwareLoss, SVLCLosses
from adaptkit.objectives.svlc.masked_words import load_masked_words
from adaptkit.objectives.svlc.user_words import read_synonyms, read_words
from adaptkit.objectives.svlc.word_lists import SYNONYMS, WORDS
from adaptkit.options import option, options


@options
class SVLCConfig:
    num_negs: int = option(1, "Negatives of each caption; 0 writes none.", least=0)
    neg_w: float = option(
        1.0, "Weight of the loss between each caption and its own negatives; 0 leaves it out.", least=0
    )
    no_neg_in_contrastive: bool = option(False, "Leave the negatives out of the contrastive loss.")
    pos: bool = option(False, "Write a positive text for each caption; the caption itself where none is known.")
    symmetric: bool = option(False, "The positive loss in both directions of each of its terms.")
    kl_pos: bool = option(False, "Add 0.1 times the KL term that pulls <I, T> and <I, P> together.")
    common_batch_pos: bool = option(
        False, "Add 0.01 times the KL term over captions and positives of the batch, whose target is nearly uniform."
    )
    strict: bool = option(
        True, "Replace whole tokens, longest phrases first, and no word by a synonym; false is the released code's way."
    )
    kinds: tuple[str, ...] = option((), "Lists that are replaced; none means all.", filled=True)
    words: str = option(
        "", "Text file of your own lists: a line [kind], then a word or phrase on each line.", file=texts_file
    )
    synonyms: str = option(
        "", "JSON file {kind: {word: [word, ...]}} of words that do not come in for each other.", file=texts_file
    )
    paraphrases: str = option("", "JSON file {caption: [text that says the same, ...]}.", file=texts_file)
    source: Source = option(
        "rules", "Negatives by rules, by a masked language model, or of each caption by one of the two."
    )
    masked_lm: str = option("", "Folder of a fill-mask model of transformers; needs spaCy, too.")
    tagger: str = option(
        "en_core_web_sm", "Name of the spaCy model that finds the words which a masked language model replaces."
    )

    def __post_init__(self) -> None:
        if (self.source != "rules") != bool(self.masked_lm):
            raise ValueError(
                f"source={self.source!r} and masked_lm={self.masked_lm!r}; name a folder for masked_lm and both, and "
                "none for rules"
            )
        if self.paraphrases and not self.pos:
            raise ValueError("paraphrases is set and pos is false, so nothing reads it; set pos")


@register_objective("svlc", SVLCConfig)
class SVLC(PairObjective):
    """Every image is to find its caption among those of the batch and among captions with one wrong word."""

    writes_texts = True

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: SVLCConfig):
        super().__init__(method, inner)
        self.config = config
        self.augmenter = _augmenter(config)
        self.criterion = NegativeAwareLoss(
            neg_w=config.neg_w,
            pos=config.pos,
            symmetric=config.symmetric,
            kl_pos=config.kl_pos,
            common_batch_pos=config.common_batch_pos,
            no_neg_in_contrastive=config.no_neg_in_contrastive,
        )
        self.register_buffer("log_scale", method.backbone.logit_scale.detach().clone(), persistent=False)

    def texts_of(
        self, captions: Sequence[str], drawn: int, fit: Callable[[str], str], seed: int
    ) -> Sequence[str | None]:
        """The caption, its positive where positives count, and `num_negs` negatives; None for each that is missing."""
        caption, negatives, positives = self.augmenter(captions[drawn], seed)
        texts: list[str | None] = [fit(caption)]
        if self.config.pos:
            texts.append(_fitted(positives[seed % len(positives)], fit) if positives else None)
            texts[1] = texts[1] or texts[0]
        taken = {_plain(text) for text in (*captions, *texts) if text is not None}
        for negative in negatives:
            text = _fitted(negative, fit)
            texts.append(text if text is not None and _plain(text) not in taken else None)
            taken.add(_plain(text or ""))
        return (*texts, *[None] * (self.config.num_negs - len(negatives)))

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        return self.losses(images, texts, groups).total

    def losses(self, images: Tensor, texts: Tensor, groups: Tensor) -> SVLCLosses:
        """The loss of a whole batch and its parts.

        Args:
            images: features (B, D), not normalised.
            texts: features (B, n, D) in the order of `texts_of`; (B, D) of captions alone have CLIP's loss.
        """
        if texts.ndim == 2:
            texts = texts[:, None]
        unit = F.normalize(at_least_fp32(texts), dim=-1)
        unit = torch.where(text_is_there(texts)[..., None], unit, torch.zeros_like(unit))
        captions, rest = unit[:, 0], unit[:, 1:]
        with_positives = self.config.pos and rest.shape[1] > 0
        positives = rest[:, 0] if with_positives else None
        negatives = rest[:, 1:] if with_positives else rest
        assert isinstance(self.log_scale, Tensor)
        return self.criterion(
            F.normalize(at_least_fp32(images), dim=-1),
            captions,
            at_least_fp32(self.log_scale).exp(),
            negatives if negatives.shape[1] else None,
            positives,
            groups,
        )


def _augmenter(config: SVLCConfig) -> CaptionAugmenter:
    lists = read_words(config.words) if config.words else WORDS
    synonyms = dict(SYNONYMS)
    for kind, groups in read_synonyms(config.synonyms).items() if config.synonyms else ():
        synonyms[kind] = (*synonyms.get(kind, ()), *groups)
    return CaptionAugmenter(
        lists,
        config.kinds or None,
        config.num_negs,
        config.strict,
        synonyms=synonyms,
        source=config.source,
        masked=load_masked_words(config.masked_lm, config.tagger) if config.masked_lm else None,
        paraphrases=read_captions(config.paraphrases) if config.paraphrases else {},
    )


def _fitted(text: str, fit: Callable[[str], str]) -> str | None:
    """A text cut to the context; None where not even its first word has room."""
    try:
        return fit(text)
    except ValueError:
        return None


def _plain(text: str) -> str:
    """A text as a tokenizer that knows no capitals sees it."""
    return " ".join(text.lower().split())
