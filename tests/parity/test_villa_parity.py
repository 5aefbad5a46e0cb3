"""ViLLA against numbers recorded from its released code (StanfordMIMI/villa 9b29196): both losses, the assignment."""

import json

import pytest
import torch
from torch import Tensor

from adaptkit.heads.villa import (
    assign,
    mapping_loss,
    mapping_quality,
    naming_sentences,
    pooled_cosines,
    region_text,
    region_text_loss,
    sentences_of,
)
from adaptkit.heads.villa.projections import Projections
from tests.helpers.golden import FIXTURES, Golden

pytestmark = pytest.mark.usefixtures("dtype")
STEPS = 5


def recorded_heads(golden: Golden) -> Projections:
    """The heads with the recorded weights."""
    said, width = golden.settings, golden["attr_embs"].shape[1]
    count = 1 if said["one_proj"] else len(said["attributes"])
    heads = Projections(width, count, keep=0.8 if said["adapter"] else 0.0)
    heads.load_state_dict({name: golden[f"init/{name}"] for name in heads.state_dict()})
    return heads


def released_loss(heads: Projections, golden: Golden, batch: int) -> Tensor:
    labels, counts = golden[f"labels/{batch}"], golden[f"num_regions/{batch}"]
    present = labels.any(dim=0).nonzero()[:, 0].tolist()
    cosines = heads.cosines(golden[f"regions/{batch}"], golden["attr_embs"])  # heads of absent attributes, too
    scores = pooled_cosines(cosines[:, present], counts) / golden.settings["temperature"]
    return mapping_loss(scores, labels[:, present], strict=False)


@pytest.mark.parametrize("variant", ["one_proj_adapter", "per_attribute"])
def test_the_mapping_model_learns_as_the_released_one(variant):
    golden = Golden("villa", variant)
    heads = recorded_heads(golden)
    golden.check("projected", heads(golden["regions/0"]))
    loss = released_loss(heads, golden, 0)
    golden.check("loss", loss)
    loss.backward()
    for name, parameter in heads.named_parameters():
        golden.check(f"grad/{name}", torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=golden.settings["lr"])
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = released_loss(heads, golden, step % 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step in (0, STEPS - 1):
            for name, parameter in heads.named_parameters():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))


@pytest.mark.parametrize("variant", ["assignment_eps005", "assignment_eps02"])
def test_assignment_and_texts_equal_the_released_ones(variant):
    said = json.loads((FIXTURES / "villa" / f"{variant}.json").read_text(encoding="utf-8"))
    assigned, truth, candidates = [], [], []
    for place, row in enumerate(said["rows"]):
        names = row["attributes"]
        cosines = torch.tensor([said["scores"][row["image_id"]][name] for name in names]).T
        found = assign(cosines, torch.tensor([row["num_regions"]]), torch.ones(1, len(names)), said["epsilon"], True)
        lists = [[name for name, given in zip(names, own, strict=True) if given] for own in found.tolist()]
        assert lists == said["assigned_attributes"][place]
        texts = [region_text(row["text"], own, lambda count: said["choice"] % count, True).joined for own in lists]
        assert texts == said["assigned_text"][place]
        sentences = sentences_of(row["text"])
        candidates += [naming_sentences(sentences, name, released=True) for name in names]
        assigned += found.flatten().tolist()
        truth += [name in own for own in row["reg_to_attr"] for name in names]
    assert candidates == said["sentence_candidates"]
    quality = mapping_quality(torch.tensor(assigned), torch.tensor(truth))
    recorded = said["performance"]
    assert quality.precision == pytest.approx(recorded["Mapping Precision"], abs=0.005)
    assert quality.recall == pytest.approx(recorded["Mapping Recall"], abs=0.005)
    assert quality.f1 == pytest.approx(recorded["Mapping F1"], abs=0.005)


def test_the_loss_of_the_second_stage_equals_the_released_one():
    golden = Golden("villa", "stage2_loss")
    regions = golden["img_emb"].requires_grad_()
    loss = region_text_loss(regions, golden["txt_emb"], golden.settings["temperature"], golden.settings["lambd"])
    golden.check("loss", loss)
    loss.backward()
    golden.check("grad/img_emb", regions.grad)
