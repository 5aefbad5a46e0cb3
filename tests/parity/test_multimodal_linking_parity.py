"""Pooling, losses, clusters and the token matcher against numbers recorded from the released codes.

CLIPPINGS is dell-research-harvard/clippings 16e3cd0, M3EL is zhiweihu1103/MEL-M3EL 9b99c42.
"""

import pytest
import torch
from torch import Tensor

from adaptkit.heads.multimodal_linking import (
    RELEASED_TEMPERATURES,
    RecordTokens,
    TokenMatcher,
    adjusted_rand,
    contrastive_of_records,
    margin_contrastive_loss,
    matching_loss,
    pooled,
    records_of,
    single_linkage,
    supcon_loss,
)
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

FOLDER = "multimodal_linking"
POOLED = [name for name in variants(FOLDER) if name.startswith("clippings")]
MATCHED = [name for name in variants(FOLDER) if name.startswith("m3el")]
BATCHES = (0, 1, 0, 1, 0)  # of the recorded steps


def recorded_loss(golden: Golden, vectors: Tensor) -> Tensor:
    said = golden.settings
    if said["loss"] == "supcon":
        return supcon_loss(vectors, golden["labels"], said["temperature"])
    return margin_contrastive_loss(vectors, golden["labels"], said["pos_margin"], said["neg_margin"])


@pytest.mark.parametrize("variant", POOLED)
def test_pooled_vectors_and_their_loss_equal_the_released_ones(variant):
    golden = Golden(FOLDER, variant)
    image = golden["image_features"].clone().requires_grad_()
    text = golden["text_features"].clone().requires_grad_()
    vectors = pooled(records_of(image, text), golden.settings["im_wt"])
    golden.check("embeddings", vectors)
    loss = recorded_loss(golden, vectors)
    golden.check("loss", loss)
    loss.backward()
    golden.check("grad/image_features", image.grad)
    golden.check("grad/text_features", text.grad)


@pytest.mark.parametrize("variant", POOLED)
def test_clusters_and_their_rand_index_equal_the_released_ones(variant):
    golden = Golden(FOLDER, variant)
    clusters = single_linkage(golden["embeddings"], golden.settings["threshold"])
    assert torch.equal(clusters, golden["clusters"])
    golden.check("ari", torch.tensor(adjusted_rand(clusters, golden["labels"])))


def recorded_tokens(golden: Golden, who: str, step: int) -> RecordTokens:
    names = ("text_cls", "text_tokens", "image_cls", "image_tokens")
    return RecordTokens(*(golden[f"{who}_{name}"][step] for name in names))


def recorded_matcher(golden: Golden) -> TokenMatcher:
    said = golden.settings
    temperatures = RELEASED_TEMPERATURES[said["head_num"]]
    options = {"two_way": said["bidirection"], "temperatures": temperatures, "weight": said["weight"]}
    matcher = TokenMatcher(said["dt"], said["dv"], **options)
    prefix = "init/"
    given = {name.removeprefix(prefix): golden[name] for name in golden.tensors if name.startswith(prefix)}
    matcher.load_state_dict(given)
    return matcher


def recorded_matching_loss(golden: Golden, matcher: TokenMatcher, step: int) -> Tensor:
    said = golden.settings
    mentions, entities = (recorded_tokens(golden, who, step) for who in ("mention", "entity"))
    options = {"temperature": said["temperature"], "inter": said["inter"], "intra": said["intra"], "diagonal": "zero"}
    return matching_loss(matcher(mentions, entities), mentions, entities, **options)


@pytest.mark.parametrize("variant", MATCHED)
def test_scores_losses_and_gradients_equal_the_released_ones(variant):
    golden = Golden(FOLDER, variant)
    matcher, said = recorded_matcher(golden), golden.settings
    mentions, entities = (recorded_tokens(golden, who, 0) for who in ("mention", "entity"))
    scores = matcher(mentions, entities)
    golden.check("score", scores.mean)
    for name, score in scores.each.items():
        golden.check(f"score/{name}", score)
    weights = {"temperature": said["temperature"], "inter": said["inter"], "intra": said["intra"]}
    golden.check("loss_contrastive", contrastive_of_records(mentions, entities, diagonal="zero", **weights))
    loss = recorded_matching_loss(golden, matcher, 0)
    golden.check("loss", loss)
    loss.backward()
    for name, parameter in matcher.named_parameters():
        golden.check(f"grad/{name}", parameter.grad)


@pytest.mark.parametrize("variant", MATCHED)
def test_five_steps_lead_where_the_released_ones_do(variant):
    golden = Golden(FOLDER, variant)
    matcher = recorded_matcher(golden)
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=golden.settings["lr"], eps=1e-4, weight_decay=1e-4)
    losses = []
    for number, step in enumerate(BATCHES):
        loss = recorded_matching_loss(golden, matcher, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        for name, parameter in matcher.named_parameters():
            if f"step{number + 1}/{name}" in golden:
                golden.check_trained(f"step{number + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))
    mentions, entities = (recorded_tokens(golden, who, 1) for who in ("mention", "entity"))
    after = matcher(mentions, entities).mean
    golden.check_trained("score_after", after)
    ranks = after.argsort(dim=1, descending=True).argsort(dim=1) + 1
    assert torch.equal(ranks, golden["rank_after"])
