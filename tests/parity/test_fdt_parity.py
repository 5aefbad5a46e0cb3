"""FDT against numbers recorded from its released code (yuxiaochen1103/FDT ccf6983)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.wrappers.fdt.grounding import activate, combine, pool, token_scores
from adaptkit.wrappers.fdt.model import FDTModel, FDTModelConfig
from adaptkit.wrappers.fdt.query import QueryNetwork
from adaptkit.wrappers.fdt.sparsemax import sparsemax
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

QUERIES = [name for name in variants("fdt") if name.startswith("query_")]
MODELS = [name for name in variants("fdt") if name.startswith("clip_fdt_")]
RELEASED = {"codebook": "space_dict", "logit_scale": "logit_scale"} | {
    f"{ours}_query.{part}": f"{theirs}_query_model.q_map.{part}"
    for ours, theirs in (("image", "img"), ("text", "txt"))
    for part in ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias")
}


def test_sparsemax_and_its_gradient_equal_the_released_code():
    golden = Golden("fdt", "sparsemax_fn")
    z = golden["input"].clone().requires_grad_()
    p = sparsemax(z)
    golden.check("output", p)
    golden.check("support_size", (p > 0).sum(dim=-1))
    p.backward(golden["upstream"])
    golden.check("grad_input", z.grad)


@pytest.mark.parametrize("variant", QUERIES)
def test_queries_activations_and_gradients_equal_the_released_code(variant):
    golden = Golden("fdt", variant)
    settings = golden.settings
    query = QueryNetwork(settings["ft_dim"], settings["sd_dim"])
    query.load_state_dict({name: golden[f"init/q_map.{name}"] for name in query.state_dict()})
    codebook, x = golden["space_dict"].clone().requires_grad_(), golden["features"].clone().requires_grad_()
    scores = token_scores(query(x), codebook)
    recorded = scores
    if "pad_mask" in golden:
        scores = scores * (golden["pad_mask"] == 0)[..., None]
        recorded = scores
    else:
        recorded = scores * settings["sd_dim"] ** 0.5  # without a mask the code returns them unscaled
    golden.check("token_att", recorded[:, : golden["token_att"].shape[1], : golden["token_att"].shape[2]])
    weights = activate(pool(scores / settings["temperature"], settings["pool_type"]), settings["att_func_type"])
    features = combine(weights, codebook, settings["att_func_type"])
    golden.check("att_weight", weights)
    golden.check("support_size", (weights > 0).sum(dim=-1))
    golden.check("att_ft", features)
    features.backward(golden["upstream"])
    golden.check("grad/features", x.grad)
    golden.check("grad/space_dict", codebook.grad)
    for name, parameter in query.named_parameters():
        golden.check(f"grad/q_map.{name}", parameter.grad)


def released_model(golden: Golden) -> FDTModel:
    s = golden.settings
    config = FDTModelConfig(s["sd_num"], s["sd_dim"], s["att_func_type"], s["pool_type"], s["sd_temperature"])
    model = FDTModel(s["raw_img_ft_dim"], s["raw_txt_ft_dim"], config)
    state = {ours: golden[f"init/{theirs}"] for ours, theirs in RELEASED.items()}
    model.load_state_dict(state | {"logit_scale": state["logit_scale"][0]})
    return model


def loss_of(model: FDTModel, golden: Golden, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss and both features, not normalised."""
    T = model.config.temperature_at(batch)
    images = model.encode_image(golden["patch_features"][batch], T)
    texts = model.encode_text(golden["token_features"][batch], golden["pad_mask"][batch] == 0, T)
    logits, targets = model.logits(images, texts), torch.arange(len(images))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2, images, texts


@pytest.mark.parametrize("variant", MODELS)
def test_the_model_learns_as_the_released_code_does(variant):
    golden = Golden("fdt", variant)
    s = golden.settings
    model = released_model(golden)
    named = dict(model.named_parameters())
    decay = {ours: s["weight_decay_per_parameter"][theirs] for ours, theirs in RELEASED.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [parameter], "weight_decay": decay[name]} for name, parameter in named.items()],
        lr=s["optim"]["LR"],
        betas=tuple(s["optim"]["BETAS"]),
        eps=s["optim"]["EPS"],
    )
    losses = []
    for step in range(5):
        model.clamp_scale_()
        optimizer.zero_grad()
        loss, images, texts = loss_of(model, golden, step % 2)
        loss.backward()
        if step == 0:
            T = s["sd_temperature"]
            golden.check("img_att_weight", model.image_activations(golden["patch_features"][0], T))
            real = golden["pad_mask"][0] == 0
            golden.check("txt_att_weight", model.text_activations(golden["token_features"][0], real, T))
            golden.check("sd_img_ft", images)
            golden.check("sd_txt_ft", texts)
            golden.check("logits_per_image", model.logits(images, texts))
            golden.check("logits_per_text", model.logits(images, texts).T)
            for ours, theirs in RELEASED.items():
                golden.check(f"grad/{theirs}", named[ours].grad.reshape(golden[f"grad/{theirs}"].shape))
        losses.append(loss.detach())
        optimizer.step()
        model.clamp_scale_()
        if step + 1 in (1, 5):
            for ours, theirs in RELEASED.items():
                name = f"step{step + 1}/{theirs}"
                golden.check_trained(name, named[ours].reshape(golden[name].shape))
    golden.check_trained("train_losses/loss", torch.stack(losses))


def test_the_temperature_falls_as_the_released_comments_have_it():
    golden = Golden("fdt", "temperature_decay")
    s = golden.settings
    every = s["sd_T_decay_iter"]
    config = FDTModelConfig(
        temperature=s["org_t"], decay=s["sd_T_decay_w"], decay_steps=every, least_temperature=s["sd_T_min"]
    )
    steps = range(1, len(golden["temperature"]) + 1)
    golden.check("temperature", torch.tensor([config.temperature_at(k * every) for k in steps]))
    assert config.temperature_at(every - 1) == s["org_t"]
    assert config.temperature_at(every + 5) == config.temperature_at(every)
