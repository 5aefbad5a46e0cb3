"""What the recorded numbers of MMRL cannot show: its rule of two logits, counts, where tokens enter, what runs once."""

import copy

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import ClassSet, create_method
from adaptkit.layers.representation import LowRankHead, OwnHead, SeparateMaps, SharedMaps
from adaptkit.towers.block import run_block
from adaptkit.towers.prompt_encoder import FullEncoder
from adaptkit.towers.token_tree import PromptTokens
from adaptkit.towers.vision import embed_patches
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build

NOVEL = ("tabby cat", "sushi")
PLUS_PLUS = {"maps": "shared", "map_rank": 2, "head": "low_rank", "head_rank": 4, "token_share": 0.9}


def made(backbone, classes, **options):
    """The method with a small space, at random."""
    return create_method("mmrl", backbone, classes, **{"width": 8, **options})


def trained(backbone, classes, batch, **options):
    method = made(backbone, classes, **options).train()
    method.backward(*batch)
    return method.eval()


def l1(method, images):
    return method.both_logits(images)[0]


def both(method, images, alpha=0.7):
    of_class_token, of_tokens = method.both_logits(images)
    return alpha * of_class_token + (1 - alpha) * of_tokens


def test_trained_classes_get_both_logits_and_any_other_list_the_first_alone(tiny_clip, classes, batch):
    method, images = trained(tiny_clip, classes, batch), batch[0]
    torch.testing.assert_close(method(images), both(method, images))
    assert not torch.allclose(method(images), l1(method, images), atol=1e-2)
    for known in (classes[:2], classes[::-1]):
        method.set_classes(known)
        torch.testing.assert_close(method(images), both(method, images))
    for other in (NOVEL, (*classes, NOVEL[0]), (NOVEL[0], classes[0])):
        method.set_classes(other)
        torch.testing.assert_close(method(images), l1(method, images))
    method.set_classes(classes)
    torch.testing.assert_close(method(images), both(method, images))


@pytest.mark.parametrize("at_saving", ["trained", "new"])
def test_the_rule_survives_saving_whatever_the_classes_are_then(tiny_clip, classes, batch, tmp_path, at_saving):
    method, images = trained(tiny_clip, classes, batch), batch[0]
    if at_saving == "new":
        method.set_classes(NOVEL)
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert torch.equal(loaded(images), method(images))
    for names, expected in ((NOVEL, l1), (classes, both)):
        loaded.set_classes(names)
        torch.testing.assert_close(loaded(images), expected(loaded, images))


def test_names_are_compared_as_prompts_say_them(tiny_clip, batch):
    method = trained(tiny_clip, ["sea_lake", "corgi", "violin", "ramen", "dog"], batch)
    method.set_classes(["sea lake", "corgi"])
    assert method.were_trained


def test_a_second_training_adds_its_classes_and_what_was_only_asked_for_is_not_trained(tiny_clip, classes, batch):
    method = made(tiny_clip, ["never", "learnt"])
    method.set_classes(classes)
    method.begin_training(10)
    read = ClassSet(classes).readable
    assert method.trained_names == read
    method.set_classes(NOVEL)
    with torch.no_grad():
        method.loss(batch[0], batch[1] % 2)
    method.eval().loss(batch[0], batch[1] % 2)
    assert method.trained_names == read
    method.train().loss(batch[0], batch[1] % 2)
    assert method.trained_names == (*read, *NOVEL)


def test_before_its_first_training_the_classes_that_it_was_made_for_count(tiny_clip, classes, batch):
    method, images = made(tiny_clip, classes).eval(), batch[0]
    torch.testing.assert_close(method(images), both(method, images))
    method.set_classes(NOVEL)
    torch.testing.assert_close(method(images), l1(method, images))


def test_a_torch_checkpoint_has_the_names(tiny_clip, classes, batch):
    method, images = trained(tiny_clip, classes, batch), batch[0]
    other = made(tiny_clip, NOVEL).eval()
    other.load_state_dict(method.state_dict())
    other.set_classes(classes)
    assert torch.equal(other(images), method(images))


@pytest.mark.parametrize("names", ["[1, 2]", "{", '"cat"'])
def test_names_that_are_none_are_refused(tiny_clip, classes, names):
    method = made(tiny_clip, classes)
    state = method.learnt_state() | {"trained_names": torch.tensor(list(names.encode()), dtype=torch.uint8)}
    with pytest.raises(ValueError, match="trained_names is no list of names"):
        method.load_learnt_state(state)


def test_the_first_logits_need_no_head(tiny_clip, classes, batch):
    method = trained(tiny_clip, classes, batch)
    method.set_classes(NOVEL)
    expected = method(batch[0])
    del method.head
    assert torch.equal(method(batch[0]), expected)


def test_as_many_scalars_as_the_paper_has():
    """ViT-B/16: 7 maps of 393,984 and 262,656 scalars, 2,560 in the space, 393,216 in the head."""
    device = torch.device("meta")
    parts = (SeparateMaps(512, 768, 7, device), SeparateMaps(512, 512, 7, device), OwnHead(768, 512, device))
    assert 5 * 512 + sum(weight.numel() for part in parts for weight in part.parameters()) == 4_992_256


def test_shared_maps_start_alike_and_a_low_rank_head_as_the_backbone_s_projection(tiny_clip, classes, batch):
    method = made(tiny_clip, classes, **PLUS_PLUS)
    for maps in (method.text_maps, method.vision_maps):
        first, *others = maps(method.space)
        assert all(torch.equal(first, other) for other in others)
    assert isinstance(method.head, LowRankHead)
    tower = method.backbone.vision_tower
    rows = torch.randn(2, 5, 64)
    torch.testing.assert_close(method.head(rows, tower), rows.mean(dim=1) @ tower.projection)
    torch.nn.init.normal_(method.head.B)
    expected = rows.mean(dim=1) @ (tower.projection + method.head.A @ method.head.B)
    torch.testing.assert_close(method.head(rows, tower), expected, rtol=1e-4, atol=1e-4)


def test_a_map_is_the_shared_matrix_and_its_own_residual(classes):
    maps, space = SharedMaps(8, 64, 3, 2, torch.device("cpu")), torch.randn(5, 8)
    for residual in maps.residuals:
        torch.nn.init.normal_(residual.B)
        torch.nn.init.normal_(residual.bias)
    one = maps.residuals[1]
    torch.testing.assert_close(maps(space)[1], space @ (maps.weight + one.A @ one.B).T + one.bias)


def obvious_image(method, images):
    """The class token's and the tokens' normed outputs with the tokens behind the class token, as released."""
    tower, entered = method.backbone.vision_tower, method.backbone.vision_tower.entering()
    x, n = embed_patches(tower, images), 0
    for layer, block in enumerate(tower.blocks):
        if layer in entered.tokens:
            tokens = entered.tokens[layer].expand(len(x), -1, -1)
            if n:
                tokens = entered.share * tokens + (1 - entered.share) * x[:, 1 : 1 + n]
            x, n = torch.cat([x[:, :1], tokens, x[:, 1 + n :]], dim=1), tokens.shape[1]
        x = run_block(block, x)
    return tower.ln_post(x[:, 0]) @ tower.projection, tower.ln_post(x[:, 1 : 1 + n])


@pytest.mark.parametrize("blocks", [(0, 1, 2), (1,), (0, 2), (2,)])
@pytest.mark.parametrize("options", [{}, PLUS_PLUS], ids=["mmrl", "mmrl++"])
def test_both_features_are_those_of_the_obvious_path(tiny_clip, classes, batch, blocks, options):
    method, images = made(tiny_clip, classes, blocks=blocks, **options), batch[0]
    torch.nn.init.normal_(method.space)
    feature, rows = obvious_image(method, images)
    found, of_tokens = method.both_features(images)
    torch.testing.assert_close(found, feature, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.encode_image(images), feature, rtol=1e-4, atol=1e-5)
    tower = method.backbone.vision_tower
    torch.testing.assert_close(of_tokens, method.head(rows, tower), rtol=1e-4, atol=1e-4)
    projected = method.backbone.project_tokens(method.backbone.encode_tokens(images)[:, 0])
    torch.testing.assert_close(projected, feature, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blocks", [(0, 1, 2), (1,), (0, 2), (2,)])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_token_tree_equals_every_position_of_a_grown_text(tiny_clip, classes, blocks, share):
    """Behind [SOS], without a position of their own, under a causal mask of all 40 + 5 positions."""
    method = made(tiny_clip, classes, blocks=blocks, token_share=share)
    torch.nn.init.normal_(method.space)
    tower, tokens = method.backbone.text_tower, tiny_clip.tokenize(["a photo of a cat", "a dog"])
    entered, x, n = tower.entering(), tower.token_embedding(tokens) + tower.positional_embedding, 0
    for layer, block in enumerate(tower.blocks):
        if layer in entered.tokens:
            new = entered.tokens[layer].expand(2, -1, -1)
            new = share * new + (1 - share) * x[:, 1 : 1 + n] if n else new
            x, n = torch.cat([x[:, :1], new, x[:, 1 + n :]], dim=1), 5
        length = x.shape[1]
        x = run_block(block, x, torch.full((length, length), -torch.inf).triu(1))
    assert x.shape[1] == 45
    expected = tower.project(tower.ln_final(x[torch.arange(2), tower.ends(tokens) + 5]))
    torch.testing.assert_close(method.encode_text(["a photo of a cat", "a dog"]), expected, rtol=1e-4, atol=1e-4)
    full = FullEncoder(tower, PromptTokens(tokens, torch.full_like(tokens, -1), tower.ends(tokens)))()[0]
    torch.testing.assert_close(full, expected, rtol=1e-4, atol=1e-4)


def test_tokens_of_zero_still_change_the_features_and_without_them_it_is_clip(tiny_clip, classes, batch):
    method, images = made(tiny_clip, classes), batch[0]
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.zero_()
    assert not torch.allclose(method.encode_image(images), tiny_clip.encode_image(images), atol=1e-3)
    assert not torch.allclose(method.encode_text(["a cat"]), tiny_clip.encode_text(["a cat"]), atol=1e-3)
    assert torch.equal(method.backbone.as_loaded().encode_image(images), tiny_clip.encode_image(images))
    torch.testing.assert_close(method.kept(), create_method("zero_shot", tiny_clip, classes).class_weights())


def test_the_loss_is_the_paper_s(tiny_clip, classes, batch):
    method, (images, labels) = made(tiny_clip, classes, alpha=0.6, reg_weight=2.0, blocks=(1, 2)), batch
    of_class_token, of_tokens = method.both_logits(images)
    gaps = 2 - F.cosine_similarity(method.encode_image(images), tiny_clip.encode_image(images)).mean()
    gaps = gaps - F.cosine_similarity(method.prompts(), method.kept()).mean()
    expected = 0.6 * F.cross_entropy(of_class_token, labels) + 0.4 * F.cross_entropy(of_tokens, labels) + 2.0 * gaps
    torch.testing.assert_close(method.loss(images, labels), expected, rtol=1e-4, atol=1e-5)


def test_a_large_weight_holds_the_features_near_the_frozen_ones(tiny_clip, classes, batch):
    images, gaps = batch[0], []
    for weight in (0.0, 1000.0):
        torch.manual_seed(0)
        method = made(tiny_clip, classes, reg_weight=weight).train()
        optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            method.backward(*batch)
            optimizer.step()
        cosines = F.cosine_similarity(method.encode_image(images), tiny_clip.encode_image(images))
        gaps.append(1 - cosines.mean().item())
    assert gaps[1] < 0.1 * gaps[0]


@pytest.mark.parametrize("options", [{}, PLUS_PLUS], ids=["mmrl", "mmrl++"])
def test_every_learnt_tensor_learns_and_no_other(tiny_clip, classes, batch, options):
    method = made(tiny_clip, classes, **options).train()
    for name, parameter in method.named_parameters():
        if name.endswith(".B"):  # it starts at zero, and so does the gradient of its A
            torch.nn.init.normal_(parameter)
    method.backward(*batch)
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.learnt_parameters().values())
    assert all(parameter.grad is None for parameter in tiny_clip.parameters())
    first = {name.split(".")[0] for name in method.learnt_parameters()}
    assert first == {"space", "text_maps", "vision_maps", "head"}


def test_frozen_blocks_before_the_first_run_once_for_the_texts_and_once_for_both_image_features(
    tiny_clip, classes, batch, monkeypatch
):
    method, runs = made(tiny_clip, classes, blocks=(2,)).train(), []
    for kind, tower in (("text", tiny_clip.text_tower), ("vision", tiny_clip.vision_tower)):
        for layer, block in enumerate(tower.blocks):
            norm = block.ln_1
            monkeypatch.setattr(
                norm, "forward", lambda x, norm=norm, key=(kind, layer): runs.append(key) or type(norm).forward(norm, x)
            )
    method.backward(*batch)
    assert sorted(runs) == [("text", 2), ("vision", 0), ("vision", 1), ("vision", 2), ("vision", 2)]


def test_kept_texts_are_made_again_where_a_weight_before_the_first_block_changes(tiny_clip, classes):
    backbone = copy.deepcopy(tiny_clip)
    method = made(backbone, classes, blocks=(2,))
    method.prompts()
    with torch.no_grad():
        backbone.text_tower.blocks[1].mlp.c_fc.weight.mul_(1.5)
    other = made(backbone, classes, blocks=(2,))
    other.load_learnt_state(method.learnt_state())
    torch.testing.assert_close(method.prompts(), other.prompts())


@pytest.mark.parametrize("family", WITH_VIT_BLOCKS)
@pytest.mark.parametrize("options", [{}, PLUS_PLUS], ids=["mmrl", "mmrl++"])
def test_it_learns_in_every_family(family, options, classes):
    backbone = build(family)
    images = torch.randn(5, 3, *backbone.preprocess_cfg.image_size)
    method = made(backbone, classes, blocks=(-2, -1), **options).train()
    method.backward(images, torch.arange(5))
    assert all(parameter.grad.isfinite().all() for parameter in method.learnt_parameters().values())
    method.eval()
    torch.testing.assert_close(method(images), both(method, images))
    with method.encode_classes_once(), torch.no_grad():
        torch.testing.assert_close(method(images), both(method, images))


@pytest.mark.parametrize("wrap", ["das", "token_merging", "lm4visual"])
def test_around_it_wrappers_leave_its_rule_alone(tiny_clip, classes, batch, wrap):
    method = create_method("mmrl", tiny_clip, classes, width=8, wrap=[wrap]).train()
    method.backward(*batch)
    inner = method.eval().innermost
    torch.testing.assert_close(method(batch[0]), both(inner, batch[0]), rtol=1e-4, atol=1e-4)
    method.set_classes(NOVEL)
    torch.testing.assert_close(method(batch[0]), l1(inner, batch[0]), rtol=1e-4, atol=1e-4)


def test_several_templates_are_averaged_and_sentences_are_taken(tiny_clip, classes, batch):
    templates = ["a photo of a {}.", "a drawing of a {}."]
    method = made(tiny_clip, classes, templates=templates)
    texts = [[template.format(name) for template in templates] for name in method.classes.readable]
    each = F.normalize(method.encode_text([text for own in texts for text in own]), dim=-1).unflatten(0, (-1, 2))
    torch.testing.assert_close(method.prompts(), F.normalize(each.mean(dim=1), dim=-1), rtol=1e-4, atol=1e-5)
    method.set_classes(ClassSet(classes, sentences=texts))
    torch.testing.assert_close(method.prompts(), F.normalize(each.mean(dim=1), dim=-1), rtol=1e-4, atol=1e-5)
    method.loss(*batch).backward()


def test_half_a_tower_reads_tokens_of_a_space_in_float32(classes, batch):
    backbone = copy.deepcopy(build("clip_vit")).to(torch.bfloat16)
    method = made(backbone, classes).train()
    method.backward(batch[0].to(torch.bfloat16), batch[1])
    assert all(parameter.dtype == torch.float32 for parameter in method.learnt_parameters().values())
    assert all(parameter.grad.isfinite().all() for parameter in method.learnt_parameters().values())


def test_blocks_are_the_last_seven_or_those_that_are_named(tiny_clip, classes):
    assert tuple(made(tiny_clip, classes).backbone.text_tower.entering().tokens) == (0, 1, 2)
    method = made(tiny_clip, classes, blocks=(-1,))
    assert tuple(method.backbone.vision_tower.entering().tokens) == (2,)
    with pytest.raises(ValueError, match=r"blocks names block 3; the tower has blocks 0 to 2"):
        made(tiny_clip, classes, blocks=(3,))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in WITH_VIT_BLOCKS])
def test_an_image_tower_without_blocks_is_refused(family, classes):
    with pytest.raises(ValueError, match=r"mmrl needs an image tower"):
        made(build(family), classes)
