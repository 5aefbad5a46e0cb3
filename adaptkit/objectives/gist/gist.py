"""GIST: contrastive tuning on image-specific texts, which are chosen per image among the captions of its class.

Lewis, Mu et al., "GIST: Generating Image-Specific Text for Fine-grained Object Classification", arXiv:2307.11315:
    q      = softmax_j(100 <n(f(x)), n(g(T_c,j))>) over the captions of the image's class       (matching.py)
    text   = "class name: caption" of one of the best captions
    L      = 1/2 [CE(s I T^T, Y) + CE(s T I^T, Y)],  I and T the learnt unit features, Y = 1    (tuning.py)
    then a linear probe on the tuned image features                                             (probe.py)

Departure: the paper trains all weights of both towers; here the method that is trained says what learns.
Departure: every step draws one caption per image from q over its best ones; the released code repeats each image once
    for each caption.
Departure: in batches larger than 32, pairs of one class are positives (`positives`); the released code has Y = 1.
Departure: the name is left out where the caption has it; the released code says it twice.
Departure: the matcher is the frozen backbone that is tuned; the released code has another CLIP, which a file of
    captions by image (`matched`) stands in for. Such a file holds captions alone, not the matcher's name.
Departure: s is the backbone's own and is not trained, and the last epoch is kept; the released code trains s.
Departure: a caption that is too long is cut at its last clause that fits; the paper has a language model shorten it.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, Examples, LabelledBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import Positives
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.image_texts import fit_texts, pair_text, read_captions, texts_file
from adaptkit.objectives.cross_entropy import CrossEntropy
from adaptkit.objectives.gist.matching import NO_CAPTION, USED, captions_of_classes, encode_captions, match
from adaptkit.objectives.gist.tuning import contrastive_loss
from adaptkit.options import option, options


@options
class GISTConfig:
    captions: str = option(
        "",
        "JSON file {class name: [caption, ...]}; each training image takes those of its class that fit it best.",
        file=texts_file,
    )
    matched: str = option(
        "",
        "JSON file {image file: [caption, ...]}, matched before and best first, in place of `captions`.",
        file=texts_file,
    )
    choice: Literal["matched", "any", "name"] = option(
        "matched",
        "The text of an image: one of its best captions, any caption of its class, or the class's prompts without a "
        "caption; the last two are baselines.",
    )
    num_captions: int = option(USED, "Best captions of an image that texts are drawn from.", least=1)
    positives: Positives = option(
        "auto",
        "Positive pairs are each image with its own text, or all of a class; auto is class for batches larger than 32.",
    )
    label_weight: float = option(
        0.0, "Weight of the inner loss, the method's own, beside the contrastive one; 0 leaves it out.", least=0
    )

    def __post_init__(self) -> None:
        if self.captions and self.matched:
            raise ValueError("captions and matched are both set; give captions by class, or by image, not both")
        if self.choice == "any" and self.matched:
            raise ValueError("choice='any' takes any caption of the class, which matched does not hold; give captions")


@register_objective("gist", GISTConfig)
class GIST(Objective):
    """Pairs every training image with a text of its own and pulls the two together, away from the other pairs."""

    asks_for_examples = True

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: GISTConfig):
        super().__init__(method, inner)
        if config.choice != "name" and not (config.captions or config.matched):
            raise ValueError(
                "gist needs captions: set GIST.CAPTIONS to a JSON file {class name: [caption, ...]}, or GIST.MATCHED "
                "to one of captions by image"
            )
        if not config.label_weight and not isinstance(inner, CrossEntropy | None):
            raise ValueError(
                f"gist with label_weight=0 would leave out {type(inner).__name__}, which it stands around; give it a "
                "weight, or name one objective alone"
            )
        self.config = config
        self.texts: list[str] = []  # M different texts of all training images
        self.of_image = torch.empty(0, 0, dtype=torch.int64)  # (N, K) places in `texts`
        self.odds = torch.empty(0, 0)  # (N, K) with which each is drawn
        self.fixed: Tensor | None = None  # (M, D) features of the texts, where nothing on the text side learns

    def see_examples(self, method: AdaptedTowers, examples: Examples) -> None:
        """Match the training images to their captions, before the first step.

        Raises:
            ValueError: if a class or a training image has no caption.
        """
        super().see_examples(method, examples)
        assert isinstance(method, AdaptedCLIP)
        per_image, odds = self._choose(method, examples)
        different = list(dict.fromkeys(text for own in per_image for text in own))
        self.texts = fit_texts(different, method.backbone.tokenizer)
        places = {text: place for place, text in enumerate(different)}
        rows = [torch.tensor([places[text] for text in own]) for own in per_image]
        self.of_image = pad_sequence(rows, batch_first=True)  # behind the last caption of an image the odds are 0
        self.odds = pad_sequence(odds, batch_first=True)
        with torch.enable_grad():
            learns = self._encoded(method, self.texts[:1]).requires_grad
        with torch.no_grad():
            self.fixed = None if learns else self._encoded(method, self.texts)

    def _choose(self, method: AdaptedCLIP, examples: Examples) -> tuple[list[tuple[str, ...]], list[Tensor]]:
        """Of every training image its texts, and the odds with which each is drawn."""
        config, names, labels = self.config, method.classes.readable, examples.labels.tolist()
        if config.choice == "name":
            chosen = [method.classes.texts[label] for label in labels]
            return chosen, [torch.ones(len(own)) for own in chosen]
        if config.matched:
            captions = read_captions(config.matched)
            keys = examples.keys_in(captions)
            if None in keys:
                lacking = examples.names[keys.index(None)]
                raise ValueError(f"{config.matched} has no captions of the training image {lacking!r}; match it, too")
            chosen = [
                tuple(pair_text(names[label], text) for text in captions[key][: config.num_captions])
                for key, label in zip(keys, labels, strict=True)
                if key is not None
            ]
            return chosen, [torch.ones(len(own)) for own in chosen]
        own = captions_of_classes(method.classes.classnames, read_captions(config.captions))
        texts = [tuple(pair_text(name, text) for text in mine) for name, mine in zip(names, own, strict=True)]
        if config.choice == "any":
            return [texts[label] for label in labels], [torch.ones(len(texts[label])) for label in labels]
        matches = match(
            at_least_fp32(examples.features),
            examples.labels,
            encode_captions(method.backbone, own),
            config.num_captions,
        )
        picked = [[place for place in row if place != NO_CAPTION] for row in matches.chosen.tolist()]
        q = matches.probabilities.cpu()
        return (
            [tuple(texts[label][place] for place in row) for label, row in zip(labels, picked, strict=True)],
            [q[image, row].clamp_min(torch.finfo(q.dtype).tiny) for image, row in enumerate(picked)],
        )

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        """The contrastive loss of a batch with one text per image, and the inner loss with its weight.

        Raises:
            ValueError: if the batch does not say which training images it has, or nothing of the method would learn.
        """
        assert isinstance(batch, LabelledBatch)
        if batch.places is None or not self.texts:
            raise ValueError(
                "gist needs to know which training images a batch has; call see_examples first, and give the batch its "
                "`places`"
            )
        image_features = at_least_fp32(method.image_features_of(batch.x))  # (B, D)
        text_features = self._text_features(method, self._draw(batch.places))  # (B, D)
        if torch.is_grad_enabled() and not (image_features.requires_grad or text_features.requires_grad):
            raise ValueError(
                f"{type(method).__name__} learns nothing that changes the feature of an image or of a text, so gist "
                "has nothing to tune; take a method such as clip_lora, adapter or clip_adapter"
            )
        with torch.autocast(image_features.device.type, enabled=False):
            scale = at_least_fp32(method.backbone.logit_scale)
            loss = contrastive_loss(
                image_features, text_features.to(image_features), scale, batch.labels, self.config.positives
            )
        if not self.config.label_weight or self.inner is None:
            return loss
        return loss + self.config.label_weight * self.inner.loss(method, batch)

    def _draw(self, places: Tensor) -> Tensor:
        """Training images (B,) -> places (B,) in `texts`, one drawn for each image, on the CPU."""
        own = self.of_image[places.cpu()]
        if own.shape[1] == 1:
            return own[:, 0]
        return own.gather(1, torch.multinomial(self.odds[places.cpu()], 1))[:, 0]

    def _text_features(self, method: AdaptedTowers, drawn: Tensor) -> Tensor:
        """Features (B, D) of drawn texts; each different one is encoded once."""
        if self.fixed is not None:
            return self.fixed[drawn.to(self.fixed.device)]
        different, rows = drawn.unique(return_inverse=True)
        return self._encoded(method, [self.texts[place] for place in different.tolist()])[rows.to(method.device)]

    @staticmethod
    def _encoded(method: AdaptedTowers, texts: list[str]) -> Tensor:
        """Texts -> features (n, D), with what the method has learnt on the text side."""
        learns = "encode_text" in method.provides
        return at_least_fp32(method.encode_text(texts) if learns else method.backbone.encode_text(texts))
