"""Token merging against numbers recorded from ToMe (facebookresearch/ToMe af95e4b) and FEATHER (markendo c2a09b2)."""

import json
from types import SimpleNamespace

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from adaptkit.towers import attention
from adaptkit.towers.shortening import Rows, rows_at, run_shortened
from adaptkit.towers.timm_blocks import PackedAttention, TimmBlock
from adaptkit.towers.vision import VisionTower, embed_patches, encode_image
from adaptkit.wrappers.token_merging import matching, pruning
from adaptkit.wrappers.token_merging.schedule import linear_schedule, listed_schedule
from adaptkit.wrappers.token_merging.tower import Merging
from tests.helpers.golden import FIXTURES, Golden, manifest, variants

FOLDER = "token_merging"
pytestmark = pytest.mark.usefixtures("dtype")


def named(start: str) -> list[str]:
    return [name for name in variants(FOLDER) if name.startswith(start)]


def matched(golden: Golden) -> matching.Matching:
    settings, metric = golden.settings, golden["metric"]
    if settings["kind"] == "kth":
        return matching.kth_soft_matching(metric, settings["k"])
    if settings["kind"] == "random":
        return matching.random_soft_matching(metric, settings["r"], golden["draws"].flatten(1))
    protected = settings["class_token"] + settings["distill_token"]
    return matching.bipartite_soft_matching(metric, settings["r"], protected, "position" if protected else "score")


@pytest.mark.parametrize("variant", named("match"))
def test_matching_and_averages_equal_the_released_code(variant):
    golden = Golden(FOLDER, variant)
    found, tokens, sizes = matched(golden), golden["tokens"].requires_grad_(), golden["sizes"]
    if "src_idx" in golden:  # The code counts within its two sets.
        protected = golden.settings["class_token"] + golden.settings["distill_token"]
        golden.check("src_idx", found.source // 2)
        golden.check("dst_idx", found.kept.gather(1, found.target) // 2)
        from_a = found.kept[:, protected:][found.kept[:, protected:] % 2 == 0].view(len(tokens), -1)
        golden.check("unm_idx", torch.cat([found.kept[:, :protected], from_a], dim=1) // 2)
    for reduce in ("mean", "sum", "amax"):
        golden.check(f"merge_{reduce}", matching.merge(found, tokens, reduce))
    golden.check("source", matching.merge_sources(found))
    first, first_sizes = matching.merge_weighted(found, tokens)
    golden.check("wavg_first", first)
    golden.check("wavg_first_sizes", first_sizes)
    averages, new_sizes = matching.merge_weighted(found, tokens, sizes)
    golden.check("wavg", averages)
    golden.check("wavg_sizes", new_sizes)
    golden.check("unmerge", matching.unmerge(found, averages))
    (averages * golden["upstream"][:, : averages.shape[1]]).sum().backward()
    golden.check("grad/tokens", tokens.grad)


@pytest.mark.parametrize("entry", json.loads((FIXTURES / FOLDER / "schedules.json").read_text())["items"], ids=str)
def test_schedules_equal_the_released_code(entry):
    r, depth = entry["r"], entry["layers"]
    if isinstance(r, list):
        counts = listed_schedule(r, depth)
    else:
        r, inflect = (r["r"], r["inflect"]) if isinstance(r, dict) else (r, 0.0)
        counts = linear_schedule(r, inflect, depth)
    assert list(counts) == entry["per_layer"]


def test_proportional_attention_equals_the_released_code():
    golden = Golden(FOLDER, "attention")
    qkv, proj = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
    qkv.load_state_dict({name: golden[f"init/qkv.{name}"] for name in ("weight", "bias")})
    proj.load_state_dict({name: golden[f"init/proj.{name}"] for name in ("weight", "bias")})
    attn = PackedAttention(SimpleNamespace(qkv=qkv, proj=proj, num_heads=golden.settings["heads"]), None)
    parts = attention.project_qkv(attn, golden["x"]).chunk(3, dim=-1)
    q, k, v = (attention.split_heads(attn, part) for part in parts)
    golden.check("metric", k.mean(dim=1))
    gain = golden["sizes"].squeeze(-1).log()[:, None, None]
    golden.check("out", attention.project_out(attn, attention.attend(attn, q, k, v, gain)))
    golden.check("out_no_size", attention.project_out(attn, attention.attend(attn, q, k, v)))


def tower_of(golden: Golden, shortening: Merging | None) -> VisionTower:
    """The recorded vision transformer, whose class token is classified by the recorded head."""
    settings = golden.settings
    model = VisionTransformer(
        img_size=settings["img"],
        patch_size=settings["patch"],
        embed_dim=settings["dim"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        mlp_ratio=2,
        num_classes=settings["classes"],
    ).eval()
    model.load_state_dict({name[5:]: golden[name] for name in golden.tensors if name.startswith("init/")})
    side = settings["img"] // settings["patch"]
    return VisionTower(
        conv1=model.patch_embed,
        channels_last=False,
        grid=(side, side),
        width=settings["dim"],
        prefix=(model.cls_token,),
        positional_embedding=model.pos_embed,
        ln_pre=model.norm_pre,
        blocks=[TimmBlock(block, None) for block in model.blocks],
        ln_post=model.norm,
        pool=None,
        pools_normed=False,
        projection=model.head,
        shortening=shortening,
    )


@pytest.mark.parametrize("variant", named("vit"))
def test_a_merging_tower_equals_the_released_code(variant):
    golden = Golden(FOLDER, variant)
    settings = golden.settings
    r, inflect = settings["r"] if isinstance(settings["r"], list) else (settings["r"], 0.0)
    counts = linear_schedule(r, inflect, settings["depth"])
    merging = Merging(counts, protected=1, average="sized", proportional=settings["prop_attn"])
    tower = tower_of(golden, merging)
    golden.check("logits_unmerged", encode_image(tower_of(golden, None), golden["images"]))
    golden.check("logits", encode_image(tower, golden["images"]))
    # The code merges behind the attention of the last block as well.
    rows = run_shortened(tower.blocks, merging, embed_patches(tower, golden["images"]), {}, None)
    golden.check("logits", tower.project(rows.x[:, 0]))
    golden.check("sizes", rows.sizes.squeeze(-1))
    sources = None
    for step in rows.steps:
        sources = matching.merge_sources(step, sources)
    golden.check("source", sources)
    behind = [step.kept.shape[1] for step in rows.steps]
    recorded = golden["tokens_per_layer"].tolist()
    assert behind == recorded[: len(behind)]
    assert recorded[len(behind) :] == recorded[-1:] * (len(recorded) - len(behind))


@pytest.mark.parametrize(
    "variant", [name for name in variants(FOLDER) if "kept" in str(manifest(FOLDER)["variants"][name])]
)
def test_pruning_equals_the_released_code(variant):
    golden = Golden(FOLDER, variant)
    settings = golden.settings
    side, offset, heads = settings["grid"], settings["offset"], settings["heads"]
    stride = int(settings["mask"].partition("s=")[2] or 0)
    always = pruning.grid_positions(side, side, stride) if stride else torch.empty(0, dtype=torch.int64)
    x, kept = golden["hidden"], torch.arange(side * side)
    normed = x
    for layer in range(settings["layers"]):
        if layer in settings["k"]:
            stage = settings["k"].index(layer) + 1
            q, k = (_heads(normed @ golden[f"layer/{layer - 1}/{part}"].T, heads) for part in "qk")
            criterion = pruning.attention_criterion(q[:, :, -1:], k[:, :, offset : offset + len(kept)])
            golden.check(f"score/layer{layer}", criterion[0])
            count = pruning.count_after_pruning(len(kept), settings["ratio"], stage if stride else 1)
            grid = always if stage == 1 else always[:0]
            chosen = pruning.keep_united(criterion[0], count, grid)
            after = torch.arange(offset + len(kept), x.shape[1])
            x = rows_at(x, torch.cat([torch.arange(offset), offset + chosen, after])[None])
            kept = kept[chosen]
            golden.check(f"kept/layer{layer}", kept)
        normed = x * (x.square().mean(dim=-1, keepdim=True) + 1e-6).rsqrt()
        x = x + torch.tanh(x @ golden[f"layer/{layer}/w"].T)
    golden.check("final_hidden", x)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def test_rows_that_were_never_shortened_stand_for_themselves():
    x = torch.randn(2, 5, 4)
    assert Rows(x).spread() is x
    assert Rows(x).to_pool() is x
