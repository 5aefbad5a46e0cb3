"""FDT: a method's logits plus those of image and class meeting in one codebook of finite discrete tokens.

After Chen et al., "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to
Finite Discrete Tokens", arXiv:2303.14865. For the wrapped method's logits l, patches of an image x, words of the
hand-written prompt of a class c, and a codebook C that both share:
    a = sparsemax(max_m q_m . C / (T sqrt(d))),  F = a C / |a C|,  l' = s cos(F(x), F(c))
    logits = l + lambda l',   loss = CE(logits) + 0.5 CE(l') + the method's terms beside its cross-entropy
Learnt: the codebook, a low-rank change of CLIP's own projections as queries, and s. Classes enter by their words alone,
so other names are grounded with the same codes.

Departure: the paper trains towers and tokens together, contrastively, from scratch (`adaptkit.fdt.FDTModel` does); here
    the towers are frozen, queries and codes start in CLIP's joint space, and class labels take the place of captions.
Departure: padding takes no part in the pool, where the released code gives it score 0.
Departure: T is calibrated once on the training images, so that they activate a tenth of the codes, and stays.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.towers.views import watch_of_text
from adaptkit.wrappers.fdt.grounding import token_scores
from adaptkit.wrappers.fdt.head import FDTConfig, GroundingHead

MOST_PATCHES = 200_000  # Largest number of training patches to start the codebook from.
IMAGES_PER_PASS = 64  # Training images per pass in `prepare`.
CALIBRATION = ("head.temperature", "head.support")  # Kept beside the learnt tensors.


@register_wrapper("fdt", FDTConfig)
class FDTWrapper(MethodWrapper):
    """Output rows of the image tower (B, 1 + P, D_v), or images if the method's own tower makes those rows."""

    provides = frozenset({"prepare", "backward"})
    withholds = frozenset({"class_weights"})
    passes_sentences = False  # it grounds the words of templates
    words: Tensor
    projected_words: Tensor
    real_words: Tensor

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: FDTConfig):
        vision = backbone.require_vit_blocks("fdt")
        super().__init__(backbone, make_inner(backbone))
        if not self.inner.hands_out_tokens():
            raise ValueError(
                f"fdt reads patches, and {type(self.inner).__name__} on {backbone.name} runs an image tower of its own "
                "without handing out its rows"
            )
        if config.coupling == "joint" and "backward" in self.inner.provides:
            raise ValueError(
                f"{type(self.inner).__name__} finds its gradients in its own way, so that the loss of the sum cannot "
                f'train it (on {backbone.name} or elsewhere); set the coupling of fdt to "separate"'
            )
        if not len(self.classes):
            raise ValueError("fdt grounds the words of class names, and there are no classes; give classnames")
        if self.inner.consumes == "features":
            self.consumes = "tokens"
        if config.coupling == "joint":
            self.provides = self.provides - {"backward"}
        self.config = config
        self.watch = watch_of_text(backbone.model)
        self._encode_words()
        self.head = GroundingHead(vision.row_width, backbone.text_width, self.projected_words, config)
        self._kept: Tensor | None = None
        with torch.no_grad():  # A first calibration, until `prepare` sees images.
            z = self._pooled_words()
            self.head.calibrate(z, z)

    # Grounding

    @torch.no_grad()
    def _encode_words(self) -> None:
        template = self.inner.classes.templates[0]
        texts = [template.format(name) for name in self.inner.classes.readable]
        for name, tensor in zip(("words", "projected_words", "real_words"), self._rows_of(texts), strict=True):
            self.register_buffer(name, tensor, persistent=False)

    def _follow(self) -> None:
        """Encode the words again if the text tower's weights have changed."""
        if self.watch.changed():
            with torch.autocast(self.device.type, enabled=False):
                self._encode_words()

    def _rows_of(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Word rows (C, L, D_t), their projections (C, L, d) and the real words (C, L), of the tower as loaded."""
        backbone = self.backbone.as_loaded()
        words, real = backbone.encode_words(texts)
        return at_least_fp32(words), at_least_fp32(backbone.project_words(words)), real

    def _patches(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Patch rows (B, P, D_v) and their projections (B, P, d)."""
        patches = tokens[:, 1:].contiguous()
        return at_least_fp32(patches), at_least_fp32(self.backbone.project_tokens(patches))

    def image_activations(self, images: Tensor) -> Tensor:
        """Activations (B, N) of images (B, 3, H, W)."""
        with torch.autocast(self.device.type, enabled=False):
            return self.head.image_activations(*self._patches(self.inner.image_tokens(images)))

    def strongest_patches(self, images: Tensor) -> Tensor:
        """Number, from the top left, of the patch that scores highest on each code: (B, 3, H, W) -> (B, N) int64."""
        with torch.autocast(self.device.type, enabled=False):
            queries = self.head.image_queries(*self._patches(self.inner.image_tokens(images)))
            return token_scores(queries, at_least_fp32(self.head.codebook)).argmax(dim=1)

    def text_activations(self, texts: Sequence[str]) -> Tensor:
        """Activations (N, codes) of N texts as they are, without a template."""
        with torch.autocast(self.device.type, enabled=False):
            return self.head.text_activations(*self._rows_of(texts))

    def grounded_logits(self, tokens: Tensor) -> Tensor:
        """Grounded logits l' (B, C) of output rows (B, 1 + P, D_v) of the image tower."""
        with torch.autocast(self.device.type, enabled=False):
            images = self.head.image_features(self.head.image_activations(*self._patches(tokens)))
            return self.head.logits(images, self._class_features() if self._kept is None else self._kept)

    def _class_features(self) -> Tensor:
        """Features F (C, d) of the classes' words, unit rows."""
        self._follow()
        activations = self.head.text_activations(*self._word_rows())
        return self.head.text_features(activations)

    # The start of the codebook

    def prepare(self, support: Support) -> None:
        """Start the codes from the classes' texts and the support's patches, and calibrate T on them."""
        if "prepare" in self.inner.provides:
            super().prepare(support)
        x = support.x if support.x.ndim == (3 if self.consumes == "tokens" else 4) else support.x.flatten(0, 1)
        was_training = self.training
        self.eval()
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            if self.config.start == "warm":
                weights = at_least_fp32(class_weights(self.backbone.as_loaded(), self.inner.classes))
                self.head.start_codebook(weights, self._some_patches(x))
            z = [self.head.image_scores(*self._patches(part)) for part in self._parts(x)]
            self.head.calibrate(torch.cat(z), self._pooled_words())
        self.train(was_training)

    def _pooled_words(self) -> Tensor:
        """Pooled scores (C, N) of the classes' words, not divided by T."""
        self._follow()
        return self.head.text_scores(*self._word_rows())

    def _word_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The classes' word rows, in full precision even where `.half()` has made the buffers shorter."""
        return at_least_fp32(self.words), at_least_fp32(self.projected_words), self.real_words

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        """Output rows (b, 1 + P, D_v) of all images, in parts."""
        return (self._tokens(part.to(self.device)) for part in x.split(IMAGES_PER_PASS))

    def _some_patches(self, x: Tensor) -> Tensor:
        """Projected patches (n, d) of all images, or a uniform draw of 200,000 if there are more."""
        kept: list[Tensor] = []
        share = 1.0
        for tokens in self._parts(x):
            patches = self._patches(tokens)[1].flatten(0, 1)
            share = min(1.0, MOST_PATCHES / (len(x) * (tokens.shape[1] - 1)))
            kept.append(patches if share == 1 else patches[(torch.rand(len(patches)) < share).to(patches.device)])
        return torch.cat(kept)

    # The contract of methods

    def _tokens(self, x: Tensor) -> Tensor:
        return self.inner.image_tokens(x) if self.consumes == "images" else x

    def logits(self, x: Tensor) -> Tensor:
        """Output rows (B, 1 + P, D_v), or images (B, 3, H, W) -> logits (B, C)."""
        return self.logits_of_tokens(self._tokens(x))

    def logits_of_tokens(self, tokens: Tensor) -> Tensor:
        if self.config.logits == "grounded":
            return self.grounded_logits(tokens)
        logits = self.inner.logits_of_tokens(tokens)
        return logits + self.config.weight * self.grounded_logits(tokens) if self.config.weight else logits

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        if self.config.coupling == "separate":
            return self.inner.loss(self.inner_input(x), labels) + self._head_loss(x, labels)
        tokens = self._tokens(x)
        grounded = self.grounded_logits(tokens)  # (B, C)
        logits = grounded
        if self.config.logits == "sum":
            logits = self.inner.logits_of_tokens(tokens) + self.config.weight * grounded
        loss = F.cross_entropy(logits, labels) + self.config.own_loss * F.cross_entropy(grounded, labels)
        added = self.inner.regularizer(self.inner_input(x), labels)
        return loss if added is None else loss + added

    def _head_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Loss of the tensors learnt here, given the wrapped method's."""
        with torch.no_grad():
            tokens = self._tokens(x)
            given = self.inner.logits_of_tokens(tokens)
        grounded = self.grounded_logits(tokens)
        logits = given + self.config.weight * grounded if self.config.logits == "sum" else grounded
        return F.cross_entropy(logits, labels) + self.config.own_loss * F.cross_entropy(grounded, labels)

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor:
        own = self.config.own_loss * F.cross_entropy(self.grounded_logits(self._tokens(x)), labels)
        added = self.inner.regularizer(self.inner_input(x), labels)
        return own if added is None else own + added

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        if self.config.coupling == "joint":
            return super().backward(x, labels)
        inner = self.inner.backward(self.inner_input(x), labels)
        head = self._head_loss(x, labels)
        head.backward()
        return inner + head.detach()

    def rebuild_from_names(self) -> None:
        self._encode_words()

    def class_weights(self) -> Tensor:
        raise TypeError(
            "the grounded logits meet codes that each image activates, so no class weights hold for every image"
        )

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        with self.inner.encode_classes_once():
            with torch.no_grad():
                self._kept = self._class_features()
            try:
                yield
            finally:
                self._kept = None

    def undecayed(self) -> set[str]:
        decayed = self.head.decayed()
        own = {f"head.{name}" for name, _ in self.head.named_parameters() if name not in decayed}
        return own | super().undecayed()

    def learnt_state(self) -> dict[str, Tensor]:
        return super().learnt_state() | {name: self.get_buffer(name).clone() for name in CALIBRATION}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        if missing := [name for name in CALIBRATION if name not in state]:
            raise ValueError(f"learnt tensors {sorted(state)} do not belong here; {missing} are missing")
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name not in CALIBRATION})
        self._copy_into({name: self.get_buffer(name) for name in CALIBRATION}, {n: state[n] for n in CALIBRATION})
