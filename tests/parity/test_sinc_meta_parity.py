"""SINC's released model and prompts against numbers recorded from its code."""

import json

import pytest
import torch

from adaptkit.features.sinc_meta.episodes import bursty_prompt, nonbursty_prompt, nway_prompt
from adaptkit.features.sinc_meta.released import ReleasedShape, ReleasedSinc, query_loss
from tests.helpers.golden import FIXTURES, Golden, manifest, variants

FOLDER = "sinc_meta"
FORWARDS = [name for name in variants(FOLDER) if name.startswith("forward")]
EPISODES = [name for name in variants(FOLDER) if name.startswith("episodes")]


def released(golden):
    """The released model at its recorded start."""
    settings = golden.settings
    model = ReleasedSinc(
        ReleasedShape(
            feature_width=settings["feat"],
            fuser_width=settings["bert"],
            width=settings["meta"],
            layers=settings["layers"],
            heads=2,
            positions=settings["positions"],
            vocabulary=settings["vocab"],
            label_multiplicity=settings["label_multiplicity"],
            correlation=settings["correlation"],
        )
    )
    start = {name.removeprefix("init/"): golden[name] for name in golden.tensors if name.startswith("init/")}
    model.load_state_dict(start)
    return model


@pytest.mark.usefixtures("dtype")
@pytest.mark.parametrize("variant", FORWARDS)
def test_states_logits_loss_and_gradients_equal_the_released_code(variant):
    golden = Golden(FOLDER, variant)
    model, settings = released(golden), golden.settings
    demos, labels = (None, None) if settings["no_example_baseline"] else (golden["exp_feats"], golden["exp_labels"])
    states, logits = model(
        golden["main_feats"],
        demos,
        labels,
        golden["class_tokens"],
        golden["class_token_masks"],
        settings.get("drawn_projection"),
    )
    golden.check("states", states)
    golden.check("query_logits", logits[:, -1])
    if "demo_logits" in golden:
        golden.check("demo_logits", logits[:, :-1])
    loss = query_loss(logits, golden["main_labels"])
    golden.check("loss", loss)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        gradient = gradients[name]
        golden.check(f"grad/{name}", torch.zeros_like(parameter) if gradient is None else gradient)


@pytest.mark.usefixtures("dtype")
def test_candidates_keep_their_columns():
    golden = Golden(FOLDER, "forward_default")
    model = released(golden)
    given = [golden[name] for name in ("main_feats", "exp_feats", "exp_labels", "class_tokens", "class_token_masks")]
    (_, every), (_, some) = model(*given), model(*given, candidates=torch.tensor([3, 1]))
    assert torch.equal(some, every[..., [3, 1]])


class Recorded:
    """The recorded draws of an episode, in their order."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def _next(self, kind):
        found, value = next(self.draws)
        assert found == kind
        return value

    def coin(self):
        return self._next("coin")

    def classes(self, among, count, *, replace):
        chosen = self._next("choice")
        assert len(chosen) == count
        assert set(chosen) <= set(among)
        return chosen

    def positions(self, below, count):
        drawn = self._next("positions")
        assert len(drawn) == count
        assert max(drawn) < below
        return drawn

    def permutation(self, count):
        order = self._next("permutation")
        assert sorted(order) == list(range(count))
        return order


@pytest.mark.parametrize("variant", EPISODES)
def test_prompts_equal_the_released_ones(variant):
    content = json.loads((FIXTURES / FOLDER / manifest(FOLDER)["variants"][variant]["file"]).read_text())
    labels, ways, count = content["labels"], content["ways"], content["example_num"]
    assert content["episodes"]
    for episode in content["episodes"]:
        draws, mode = Recorded(episode["draws"]), episode["mode"]
        if mode == "nway":
            prompt = nway_prompt(labels, content["test_classes"], ways, count, draws)
            ours = {"main_nway_feats": prompt.query, "main_nway_labels": prompt.query_label}
        elif mode == "bursty":
            retrieved = content["retrieved"][episode["index"]]
            prompt = bursty_prompt(
                labels, content["train_classes"], retrieved, episode["main_label"], ways, count, draws
            )
            ours = {}
        else:
            prompt, ours = nonbursty_prompt(labels, content["train_classes"], count, draws), {}
        ours |= {f"exp_{mode}_feats": prompt.places, f"exp_{mode}_labels": prompt.labels}
        assert ours == episode["result"]
        assert next(draws.draws, None) is None
