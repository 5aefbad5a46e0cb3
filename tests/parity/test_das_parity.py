"""DAS against its released code: an encoder with skipped layers, the whole search trace, all kinds of stand-ins."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adaptkit.contract.architecture import Choice, largest
from adaptkit.layers.block_view import BlockView
from adaptkit.towers.block import run_block
from adaptkit.wrappers.das.blocks import NormedBottleneck, SkipAdapter
from adaptkit.wrappers.das.config import DASConfig
from adaptkit.wrappers.das.gates import Gates, advantages, distinct, rewards
from adaptkit.wrappers.das.search import RewardSearch
from tests.helpers.golden import Golden

pytestmark = pytest.mark.usefixtures("dtype")

CPU = torch.device("cpu")


def adapter(make, golden, prefix, names, scale=1.0):
    """An adapter with recorded weights; `names` are those of its norm, down and up layer."""
    norm, down, up = (f"{prefix}{name}" for name in names)
    inside, width = golden[f"{down}.weight"].shape
    made = make(width, inside, "normal", scale, CPU)
    for layer, name in ((made.ln, norm), (made.down, down), (made.up, up)):
        layer.load_state_dict({part: golden[f"{name}.{part}"] for part in ("weight", "bias")})
    return made


VILT = ("adapter_layer_norm_before", "down_proj", "up_proj")


class ViLTBlock(nn.Module):
    """A frozen block of ViLT under open_clip's names."""

    def __init__(self, golden, layer, heads):
        super().__init__()
        state = {name: golden[f"init/transformer.blocks.{layer}.{name}"] for name in NAMES}
        width, inside = len(state["norm1.weight"]), len(state["mlp.fc1.weight"])
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, inside), nn.GELU(), nn.Linear(inside, width))
        self.load_state_dict({ours: state[theirs] for theirs, ours in NAMES.items()})
        self.requires_grad_(False)


NAMES = {
    f"{theirs}.{part}": f"{ours}{part}"
    for theirs, ours in (
        ("norm1", "ln_1."),
        ("norm2", "ln_2."),
        ("attn.qkv", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj."),
        ("mlp.fc1", "mlp.0."),
        ("mlp.fc2", "mlp.2."),
    )
    for part in ("weight", "bias")
}


class ViLT(nn.Module):
    """The recorded model: embeddings, blocks with DAS's layers, pooler and classifier."""

    def __init__(self, golden):
        super().__init__()
        self.golden, depth, heads = golden, golden.settings["layers"], golden.settings["heads"]
        self.skips = nn.ModuleList(
            adapter(SkipAdapter, golden, f"init/adapter_list.{layer}.0.", VILT) for layer in range(depth)
        )
        self.beside = nn.ModuleList(
            nn.ModuleList(
                adapter(NormedBottleneck, golden, f"init/transformer.blocks.{layer}.adapter{place}.", VILT)
                for place in (0, 1)
            )
            for layer in range(depth)
        )
        self.blocks = [
            BlockView(ViLTBlock(golden, layer, heads), beside_attn=attn, beside_mlp=mlp, skip=skip)
            for layer, ((attn, mlp), skip) in enumerate(zip(self.beside, self.skips, strict=True))
        ]
        self.head = {name: nn.Parameter(golden[f"init/{name}"]) for name in HEAD}

    def use(self, skipped):
        for layer, skip in enumerate(self.skips):
            skip.active = layer in skipped

    def forward(self, part):
        """A recorded batch -> text outputs, pooled first token, logits."""
        golden, head = self.golden, self.head
        text = golden["init/text_embeddings.weight"][golden[f"{part}/text_ids"]]
        types = head["token_type_embeddings.weight"]
        x = torch.cat([text + types[0], golden[f"{part}/image_embeds"] + types[1]], dim=1)
        seen = torch.cat([golden[f"{part}/text_masks"], golden[f"{part}/image_masks"]], dim=1).bool()
        for block in self.blocks:
            x = run_block(block, x, seen[:, None, None, :])
        norm = [golden[f"init/transformer.norm.{name}"] for name in ("weight", "bias")]
        x = F.layer_norm(x, x.shape[-1:], *norm, eps=1e-6)
        pooled = torch.tanh(F.linear(x[:, 0], head["pooler.dense.weight"], head["pooler.dense.bias"]))
        logits = F.linear(pooled, head["vqa_classifier.weight"], head["vqa_classifier.bias"])
        return x[:, : text.shape[1]], pooled, logits

    def loss(self, part):
        return F.cross_entropy(self(part)[2], self.golden[f"{part}/labels"])


HEAD = [f"{name}.{part}" for name in ("pooler.dense", "vqa_classifier") for part in ("weight", "bias")]
HEAD += ["token_type_embeddings.weight"]


@pytest.fixture(scope="module")
def golden():
    return Golden("das", "vilt_search_skip4")


@pytest.mark.parametrize(("case", "skipped"), [("none", ()), ("first4", (0, 1, 2, 3)), ("mixed", (1, 4, 7, 11))])
def test_outputs_with_skipped_layers_are_the_recorded_ones(golden, case, skipped):
    model = ViLT(golden)
    model.use(skipped)
    for name, ours in zip(("text_feats", "cls_feats", "logits"), model("train"), strict=True):
        golden.check(f"forward_{case}/{name}", ours)


def test_gradients_of_adapters_and_head_are_the_recorded_ones(golden):
    model = ViLT(golden)
    model.use((1, 4, 7, 11))
    loss = model.loss("train")
    golden.check("forward_mixed/loss", loss.double())
    loss.backward()
    ours = {name: weight.grad for name, weight in model.head.items()}
    for layer, skip in enumerate(model.skips):
        places = {f"adapter_list.{layer}.0.": skip}
        places |= {
            f"transformer.blocks.{layer}.adapter{place}.": made for place, made in enumerate(model.beside[layer])
        }
        for prefix, made in places.items():
            for theirs, layers in zip(VILT, (made.ln, made.down, made.up), strict=True):
                for part in ("weight", "bias"):
                    ours[f"{prefix}{theirs}.{part}"] = getattr(layers, part).grad
    recorded = {name.removeprefix("grad_mixed/") for name in golden.tensors if name.startswith("grad_mixed/")}
    assert recorded == ours.keys()
    for name, gradient in ours.items():
        unused = torch.zeros_like(golden[f"grad_mixed/{name}"])
        golden.check(f"grad_mixed/{name}", unused if gradient is None else gradient)


def recorded_draws(monkeypatch, gates, golden):
    """Have the gates draw what the recorded run drew; how often each is asked is checked by the caller."""
    draws = iter(golden["search/drawn"].tolist())
    monkeypatch.setattr(gates, "draw", lambda count: tuple(next(draws)) if count else ())
    return draws


@torch.no_grad()
def test_the_search_trace_is_the_recorded_one(golden, monkeypatch):
    """Published form: the trainer's part, when a reward is due, is that of the recorded run."""
    settings, model = golden.settings, ViLT(golden)
    config = DASConfig(
        skip_vision=settings["skip_num"],
        skip_text=0,
        advantage="baseline",
        eta=settings["gate_lr"],
        candidates=settings["das_step"],
    )
    search = RewardSearch(config, (settings["layers"], 0), lambda choice: model.use(choice.vision), lambda found: found)
    draws = recorded_draws(monkeypatch, search.gates[0], golden)
    losses, measured = [], 0
    for step, due in enumerate(golden["search/is_update"].tolist()):
        search.sample()
        losses.append(model.loss("train").double())
        if due:
            choices, found = search.candidates(), []
            for choice in choices:
                search.use(choice)
                found.append(float(model.loss("val")))
            torch.testing.assert_close(
                torch.tensor(found, dtype=torch.float64),
                golden["search/val_losses"][measured : measured + len(found)],
                rtol=0,
                atol=golden.tolerance("search/val_losses"),
            )
            torch.testing.assert_close(
                rewards(torch.tensor(found, dtype=torch.float64)),
                golden["search/rewards"][measured : measured + len(found)],
                rtol=0,
                atol=golden.tolerance("search/rewards"),
            )
            measured += len(found)
            search.learn(choices, found)
        torch.testing.assert_close(
            search.gates[0].values, golden["search/gates"][step], rtol=0, atol=golden.tolerance("search/gates")
        )
    golden.check("search/train_losses", torch.stack(losses))
    assert next(draws, None) is None
    assert list(search.result(0).vision.skipped) == golden["search/final_select"].tolist()


def test_drawing_is_that_of_multinomial_without_replacement():
    gates = Gates(12)
    gates.values += torch.linspace(-1, 1, 12)
    torch.manual_seed(5)
    ours = [gates.draw(4) for _ in range(6)]
    torch.manual_seed(5)
    theirs = [tuple(torch.multinomial(torch.sigmoid(gates.values), 4).tolist()) for _ in range(6)]
    assert ours == theirs


def test_recorded_draws_of_a_reward_differ_as_sets(golden):
    drawn = iter(golden["search/drawn"].tolist())
    for count, due in zip(
        golden["search/draws_per_iteration"].tolist(), golden["search/is_update"].tolist(), strict=True
    ):
        next(drawn)
        mine = [next(drawn) for _ in range(count - 1)]
        replay = iter(mine)
        found = distinct(lambda replay=replay: next(replay), lambda blocks: tuple(sorted(blocks)), 3 if due else 0)
        assert next(replay, None) is None
        assert len(found) == (3 if due else 0)


def test_the_published_advantage_is_the_reward_over_the_mean(golden):
    reward = golden["search/rewards"][:3]
    torch.testing.assert_close(advantages(reward, "baseline"), reward - reward.mean())


@pytest.mark.parametrize(("code", "form", "scale"), [("lavin", "input", 0.5), ("llava", "normed", 1.0)])
def test_skipped_layers_of_the_language_models_are_the_recorded_ones(code, form, scale):
    golden = Golden("das", "llama_skip_adapters")
    down, up = ("down_sampler", "up_sampler") if code == "lavin" else ("down", "up")
    inside, width = golden[f"{code}/init/{down}.weight"].shape
    skip = SkipAdapter(width, inside, "normal", scale, CPU)
    skip.form = form
    for layer, name in ((skip.ln, "norm/init"), (skip.down, f"{code}/init/{down}"), (skip.up, f"{code}/init/{up}")):
        separator = "/" if name == "norm/init" else "."
        layer.load_state_dict({part: golden[f"{name}{separator}{part}"] for part in ("weight", "bias")})
    x = golden["x"].clone().requires_grad_()
    output = skip(x)
    golden.check(f"{code}/output", output)
    output.backward(golden["upstream"])
    golden.check(f"{code}/grad_x", x.grad)
    for name, layer in ((down, skip.down), (up, skip.up)):
        for part in ("weight", "bias"):
            golden.check(f"{code}/grad/{name}.{part}", getattr(layer, part).grad)


def test_equal_gates_are_resolved_to_the_later_block():
    assert largest([0.0, 0.0, 0.0], 2) == (1, 2)
    assert Choice((), ()) == ((), ())
