"""Test-time methods: they adapt a classifier to the very images that it is tested on, without any label of them.

What such a method sees of the test images decides what its numbers can be compared with, so it is part of its kind:

    episodic       one image, in several views; the next image starts from the same state, so order does not matter
    online         images one after another; what was seen of the earlier ones changes the answers to the later ones
    transductive   all images of the test at once

Each stands around another method, which is trained as it would be alone: `wrap=["tpt"]` around CoOp. By its name alone
it stands around a method that learns nothing.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.artefacts.tensors import check_dtype
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.inputs import Consumes
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.answers import Answering, Prediction, ranked, resolved
from adaptkit.contract.catalogue import Catalogue
from adaptkit.contract.creation import create_method
from adaptkit.contract.images import Images, batches
from adaptkit.contract.method import AdaptedCLIP, Sees
from adaptkit.contract.registry import METHODS, register_wrapper
from adaptkit.contract.wrapper import MethodWrapper

DIMENSIONS = {"features": 1, "tokens": 2, "images": 3}  # of one view of one image, by what is consumed
ONE_BY_ONE = Answering(topk=5)

Memory = dict[str, Tensor]
Stream = TypeVar("Stream", bound="Online")


@dataclass(frozen=True)
class Seen:
    """What the method inside says of B images in V views each: unit features (B, V, D) and logits (B, V, C)."""

    features: Tensor
    logits: Tensor


class TestTime(MethodWrapper, is_contract=True):
    """A wrapper that changes what the method inside answers by what it sees of test images.

    Extend `Episodic`, `Online` or `Transductive`. What comes in is what the inner method consumes, (B, ...), or
    (B, V, ...) with V views of each image. In training the inner method learns as it does alone.
    """

    __test__ = False  # no test case, whatever pytest makes of the name
    sees: ClassVar[Sees]
    consumes: Consumes = "features"  # of the class alone; an instance consumes what its inner method does
    withholds = frozenset({"class_weights"})  # the answers are those of no weights that hold for every image

    def consume(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W), or views (B, V, 3, H, W) -> what the inner method consumes of them."""
        if images.ndim < 5:
            return self.inner.consume(images)
        return self.inner.consume(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def seen(self, x: Tensor) -> Seen:
        """What the method inside makes of the images, or of their views."""
        viewed = x.ndim == DIMENSIONS[self.inner.consumes] + 2
        n_images, n_views = (len(x), x.shape[1]) if viewed else (len(x), 1)
        rows = x.flatten(0, 1) if viewed else x
        features = F.normalize(self.inner.image_features_of(rows), dim=-1)
        if self.inner.consumes == "images" and "class_weights" in self.inner.provides:  # the tower has run already
            logits = self.backbone.logits(features, self.inner.current_class_weights())
        else:
            logits = self.inner.logits(rows)
        return Seen(features.unflatten(0, (n_images, n_views)), logits.unflatten(0, (n_images, n_views)))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of the inner method, which is trained as it is alone."""
        return self.inner.loss(x, labels)

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.inner.backward(x, labels)

    def class_weights(self) -> Tensor:
        raise TypeError(
            f"{type(self).__name__} answers by what it sees of the test images, so no class weights hold for all of "
            "them; those of `inner` are the ones that it starts from"
        )

    def folds_classes(self) -> bool:
        return False


class Episodic(TestTime, is_contract=True):
    """A test-time method that adapts to one image at a time and forgets it.

    A method writes `logits_of_views`, and sets `test_views` where it wants more than the image as it is.
    """

    sees = "episodic"

    @abstractmethod
    def logits_of_views(self, seen: Seen) -> Tensor:
        """Views (B, V, ...) of B images -> logits (B, C); no image changes the answer to another."""

    def logits(self, x: Tensor) -> Tensor:
        """Images or views of what the inner method consumes -> logits (B, C); in training those of the inner method."""
        return self.inner.logits(x) if self.training else self.logits_of_views(self.seen(x))


class Online(TestTime, is_contract=True):
    """A test-time method that sees images as a stream and remembers some of what it saw.

    A method writes `empty_memory` and `look`. `logits` of N images are those of a stream of their own, which begins
    with an empty memory; `stream` goes on where the last one ended.
    """

    sees = "online"

    def __init__(self, backbone: FrozenCLIP, inner: AdaptedCLIP):
        super().__init__(backbone, inner)
        self._memory: Memory | None = None

    @abstractmethod
    def empty_memory(self) -> Memory:
        """The memory before the first image: tensors by name, for the classes of now."""

    @abstractmethod
    def look(self, memory: Memory, seen: Seen) -> Tensor:
        """One image in views (1, V, ...) -> logits (C,); what is remembered of it is written into the memory."""

    def logits(self, x: Tensor) -> Tensor:
        """Images or views of what the inner method consumes, in order -> logits (B, C) of a stream of their own."""
        return self.inner.logits(x) if self.training else self._go_through(self.empty_memory(), x)

    def logits_in_order(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        memory = self.empty_memory()
        for x in parts:
            yield self._go_through(memory, x)

    def _go_through(self, memory: Memory, x: Tensor) -> Tensor:
        seen = self.seen(x)
        rows = zip(seen.features[:, None], seen.logits[:, None], strict=True)
        looked = [self.look(memory, Seen(features, logits)) for features, logits in rows]
        return torch.stack(looked) if looked else seen.logits[:, 0]

    @torch.no_grad()
    def stream(self, images: Images, answering: Answering = ONE_BY_ONE) -> Iterator[Prediction]:
        """Classify images one by one as they come, each after the memory of all before it, and remember them.

        Args:
            images: paths, PIL images, arrays or tensors; an iterator is read only as far as predictions are.

        Raises:
            ValueError: if one is no image, or the method has no classes.

        Example:
            ```python
            backbone = adaptkit.load_backbone("adaptkit-mini")
            method = adaptkit.create_method("tda", backbone, ["corgi", "husky"])
            for prediction in method.stream(["first.jpg", "second.jpg"]):
                print(prediction.label)
            ```
        """
        if not len(self.classes):
            raise ValueError("the method has no classes to tell apart; give it some with set_classes(classnames)")
        answering, certainty = resolved(self, answering)
        was_training = self.training
        self.eval()
        try:
            for image in batches(self, images, batch_size=1):
                with self.encode_classes_once():
                    logits = self._go_through(self._memory_of_stream(), self.consume(image.to(self.device)))
                yield from ranked(logits, self.classes.classnames, answering, certainty=certainty)
        finally:
            self.train(was_training)

    def _memory_of_stream(self) -> Memory:
        if self._memory is None:
            self._memory = self.empty_memory()
        return self._memory

    def forget(self) -> None:
        """Begin a new stream with an empty memory."""
        self._memory = None

    def stream_state(self) -> Memory:
        """Copies of the memory of the stream, by name: all that another process needs to go on with it."""
        return {name: tensor.clone() for name, tensor in self._memory_of_stream().items()}

    def load_stream_state(self, state: Memory) -> None:
        """Go on with a stream where `stream_state` was taken.

        Raises:
            ValueError: if names, shapes or types are not those of this method's memory.
        """
        own = self.empty_memory()
        if own.keys() != state.keys():
            raise ValueError(f"the memory holds {sorted(state)}; expected {sorted(own)}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}; expected {tuple(tensor.shape)}")
            check_dtype(name, state[name], tensor)
        self._memory = {name: tensor.to(own[name]).clone() for name, tensor in state.items()}

    def _apply(self: Stream, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Stream:
        """Take the memory of the stream along to where the method goes, in the types that an empty one has there."""
        moved = super()._apply(fn, recurse)
        if self._memory is not None:
            there = self.empty_memory()
            self._memory = {name: tensor.to(there[name]) for name, tensor in self._memory.items()}
        return moved

    def rebuild_from_names(self) -> None:
        """Forget the stream: what it remembers belongs to the classes of before."""
        self.forget()


class Transductive(TestTime, is_contract=True):
    """A test-time method that answers all images of a test together.

    A method writes `logits_of_all`. `predict` takes the images that it is given as the whole test.
    """

    sees = "transductive"

    @abstractmethod
    def logits_of_all(self, features: Tensor, logits: Tensor) -> Tensor:
        """Unit features (N, D) and logits (N, C) of the inner method -> logits (N, C)."""

    def logits(self, x: Tensor) -> Tensor:
        """All images, (N, ...) of what the inner method consumes -> logits (N, C)."""
        if self.training:
            return self.inner.logits(x)
        seen = self.seen(x)
        return self.logits_of_all(seen.features[:, 0], seen.logits[:, 0])

    def logits_in_order(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        seen = [self.seen(x) for x in parts]
        if seen:
            features = torch.cat([part.features[:, 0] for part in seen])
            logits = self.logits_of_all(features, torch.cat([part.logits[:, 0] for part in seen]))
            yield from logits.split([len(part.logits) for part in seen])


TestTimeMethod = TypeVar("TestTimeMethod", bound=type[TestTime])
TEST_TIME = Catalogue[TestTime]("test-time method")


def register_test_time(
    name: str, config: type, *, around: str = "zero_shot", **inner: object
) -> Callable[[TestTimeMethod], TestTimeMethod]:
    """Register a test-time method, constructed from (backbone, make_inner, config), under the stem of its file.

    It is a wrapper of that name, and a method that wraps another one in which nothing is learnt.

    Args:
        config: the frozen dataclass of its options, all with defaults.
        around: the method that it wraps where it is asked for by its name alone.
        inner: options of that method.

    Raises:
        ValueError: if the name is taken or reserved.

    Example:
        ```python
        @dataclass(frozen=True)
        class MeanOfViewsConfig:
            n_views: int = 8  # of each image

        @adaptkit.register_test_time("mean_of_views", MeanOfViewsConfig)
        class MeanOfViews(adaptkit.Episodic):
            def __init__(self, backbone, make_inner, config):
                super().__init__(backbone, make_inner(backbone))
                self.test_views = adaptkit.TestViews(config.n_views)

            def logits_of_views(self, seen):
                return seen.logits.mean(dim=1)

        method = adaptkit.create_method("mean_of_views", adaptkit.load_backbone("adaptkit-mini"), ["corgi", "husky"])
        ```
    """

    def register(method: TestTimeMethod) -> TestTimeMethod:
        register_wrapper(name, config)(method)
        METHODS.add(name, _alone(method, around, inner), config, "test_time")
        TEST_TIME.add(name, method, config, "test_time")
        return method

    return register


def _alone(wrapper: type[TestTime], around: str, options: dict[str, object]) -> type[AdaptedCLIP]:
    """The wrapper as a method of its own, made from (backbone, classes, config)."""

    def __init__(self: TestTime, backbone: FrozenCLIP, classes: ClassSet, config: object) -> None:
        def make_inner(backbone: FrozenCLIP) -> AdaptedCLIP:
            return create_method(around, backbone, classes, **options)  # type: ignore[arg-type]

        wrapper.__init__(self, backbone, make_inner, config)  # type: ignore[call-arg, arg-type]
        for parameter in self.inner.parameters():
            parameter.requires_grad_(False)

    body = {
        "__init__": __init__,
        "__doc__": wrapper.__doc__,
        "__module__": wrapper.__module__,
        "__qualname__": wrapper.__qualname__,
    }
    return type(wrapper.__name__, (wrapper,), body)


def list_test_time() -> list[str]:
    """Names of all test-time methods, sorted; each is a method and a wrapper, whose class says what it `sees`.

    Example:
        ```python
        for name in adaptkit.list_test_time():
            print(name, adaptkit.method_class(name).sees)
        ```
    """
    return TEST_TIME.names()
