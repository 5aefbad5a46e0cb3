"""Losses of nested representations against numbers recorded from MRL, AnglE and sentence-transformers."""

from functools import partial

import pytest
import torch

from adaptkit.heads.matryoshka import losses
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

VARIANTS = variants("matryoshka")


def leaf(tensor):
    return tensor.clone().requires_grad_()


def recorded(golden, name):
    """A recorded tensor in torch's default precision; None where the variant has none."""
    return golden[name] if name in golden.tensors else None


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("mrl")])
def test_mrl_equals_the_released_code(variant):
    golden = Golden("matryoshka", variant)
    settings, z = golden.settings, leaf(golden["features"])
    sizes = settings["nesting_list"]
    heads = {name.removeprefix("init/"): leaf(golden[name]) for name in golden.tensors if name.startswith("init/")}
    if settings["efficient"]:
        weight, bias = (heads[f"nesting_classifier_0.{part}"] for part in ("weight", "bias"))
        logits = losses.mrl_e_logits(z, weight, bias, sizes)
    else:
        layers = [[heads[f"nesting_classifier_{n}.{part}"] for n in range(len(sizes))] for part in ("weight", "bias")]
        logits = losses.mrl_logits(z, *layers)
    smoothing = settings["label_smoothing"]
    for size, own in zip(sizes, logits, strict=True):
        golden.check(f"logits/{size}", own)
        golden.check(f"loss/{size}", losses.mrl_loss([own], golden["labels"], None, smoothing))
    loss = losses.mrl_loss(logits, golden["labels"], settings["relative_importance"], smoothing)
    golden.check("loss", loss)
    loss.backward()
    golden.check("grad/features", z.grad)
    for name, parameter in heads.items():
        golden.check(f"grad/{name}", parameter.grad)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("2dmse")])
def test_2dmse_equals_the_released_code(variant):
    golden = Golden("matryoshka", variant)
    settings = golden.settings
    n, layer, size = settings["n_layers"], settings["drawn_layer"], settings["drawn_size"]
    last, drawn = leaf(golden[f"hidden/{n}"]), leaf(golden[f"hidden/{layer}"])
    base = partial(losses.interleaved_contrast, scale=settings["tau"])
    golden.check("L0/last", base(last[:, 0]))
    golden.check("L0/last_cut", base(last[:, 0, :size]))
    golden.check("L0/drawn", base(drawn[:, 0]))
    golden.check("L0/drawn_cut", base(drawn[:, 0, :size]))
    teacher = recorded(golden, "fixed_teacher")
    loss = losses.two_d_loss(last, drawn, layer, size, base, settings["formula"], settings["kl_temperature"], teacher)
    golden.check("loss", loss)
    loss.backward()
    golden.check(f"grad/hidden/{n}", last.grad)
    golden.check(f"grad/hidden/{layer}", drawn.grad)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("ese")])
def test_ese_equals_the_released_code(variant):
    golden = Golden("matryoshka", variant)
    settings = golden.settings
    n, size = settings["n_layers"], settings["k"]
    base = partial(losses.interleaved_contrast, scale=settings["tau"])
    hidden = [leaf(golden[f"hidden/{layer}"]) for layer in range(n + 1)]
    states = [layer[:, 0] for layer in hidden]
    targets = [recorded(golden, f"pca_target/{layer}") for layer in range(n + 1)]
    for layer in (*range(n - 1), n):
        golden.check(f"L0_cut/{layer}", base(states[layer][:, :size]))
        golden.check(
            f"compress/{layer}", losses.compress_loss(states[layer], targets[layer], settings["kl_temperature"])
        )
    loss = losses.ese_loss(states, size, base, settings["kl_temperature"], targets)
    golden.check("loss", loss)
    loss.backward()
    for layer, state in enumerate(hidden):
        golden.check(f"grad/hidden/{layer}", torch.zeros_like(state) if state.grad is None else state.grad)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("st_")])
def test_the_losses_of_sentence_transformers_are_equalled(variant):
    golden = Golden("matryoshka", variant)
    settings = golden.settings
    layers = range(1, settings["n_layers"] + 1)
    anchors = [leaf(golden[f"anchor/{layer}"]) for layer in layers]
    positives = [leaf(golden[f"positive/{layer}"]) for layer in layers]
    draws = [list(drawn) for drawn in settings.get("draws", [])]
    base = partial(losses.contrast, scale=settings["scale"], symmetric=settings["base"] == "symmetric")
    nested = partial(losses.matryoshka_loss, base=base, sizes=settings.get("dims"), weights=settings.get("weights"))
    if settings["loss"] == "MatryoshkaLoss":
        loss = nested(anchors[0], positives[0], drawn=draws[0] if draws else None)
    elif settings["loss"] == "AdaptiveLayerLoss":
        loss = losses.adaptive_layer_loss(
            anchors,
            positives,
            base,
            draws[0] if draws else None,
            last_weight=settings["last_layer_weight"],
            prior_weight=settings["prior_layers_weight"],
            kl_weight=settings["kl_div_weight"],
            kl_temperature=settings["kl_temperature"],
        )
    else:  # the dims of the last layer are drawn first, then the layers, then the dims of each of them
        chosen, dims = draws[1], iter([draws[0], *draws[2:]])
        loss = losses.adaptive_layer_loss(
            anchors,
            positives,
            lambda a, p: nested(a, p, drawn=next(dims)),
            chosen,
            kl_temperature=settings["kl_temperature"],
        )
    golden.check("loss", loss)
    loss.backward()
    for side, own in (("anchor", anchors), ("positive", positives)):
        for layer, embedding in zip(layers, own, strict=True):
            grad = torch.zeros_like(embedding) if embedding.grad is None else embedding.grad
            golden.check(f"grad/{side}/{layer}", grad)
