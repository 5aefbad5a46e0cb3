"""What a type checker knows of the public API: mypy reads these lines, and nothing runs them.

A signature of `adaptkit.__all__` that loses its types, or changes them, fails here before a user's own check does.
"""

from pathlib import Path

from torch import Tensor
from torch.nn import Parameter
from typing_extensions import assert_type

import adaptkit


def backbones() -> None:
    backbone = adaptkit.load_backbone("adaptkit-mini")
    assert_type(backbone, adaptkit.FrozenCLIP)
    assert_type(adaptkit.as_backbone(backbone.model), adaptkit.FrozenCLIP)
    assert_type(adaptkit.list_backbones(), list[str])
    assert_type(adaptkit.list_pretrained("ViT-B-16"), list[str])
    assert_type(backbone.encode_text(["a photo of a corgi."]), Tensor)
    assert_type(backbone.preprocess_cfg, adaptkit.PreprocessConfig)
    assert_type(adaptkit.class_weights(backbone, adaptkit.ClassSet(("corgi",))), Tensor)
    assert_type(adaptkit.templates_for("dtd"), tuple[str, ...])


def methods(backbone: adaptkit.FrozenCLIP, images: Tensor, labels: Tensor) -> None:
    method = adaptkit.create_method("coop", backbone, ["corgi", "husky"], n_ctx=4)
    assert_type(method, adaptkit.AdaptedCLIP)
    assert_type(method.logits(images), Tensor)
    assert_type(method.loss(images, labels), Tensor)
    assert_type(method.backward(images, labels), Tensor)
    assert_type(method.learnt_parameters(), dict[str, Parameter])
    assert_type(method.learnt_state(), dict[str, Tensor])
    assert_type(method.predict([Path("photo.jpg")]), list[adaptkit.Prediction])
    assert_type(method.predict(["photo.jpg"])[0].label, str)


def names() -> None:
    assert_type(adaptkit.list_methods(), list[str])
    assert_type(adaptkit.method_class("coop"), type[adaptkit.AdaptedCLIP])
    assert_type(adaptkit.method_config("coop"), type)
    assert_type(adaptkit.list_wrappers(), list[str])
    assert_type(adaptkit.wrapper_class("das"), type[adaptkit.MethodWrapper])
    assert_type(adaptkit.wrapper_config("das"), type)


def adapters() -> None:
    result = adaptkit.fit("taskres", "photos")
    assert_type(result, adaptkit.FitResult)
    assert_type(result.accuracy, float)
    assert_type(result.confusions, tuple[adaptkit.Confusion, ...])
    assert_type(adaptkit.load("my_adapter"), adaptkit.AdaptedCLIP)
