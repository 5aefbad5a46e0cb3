"""OGEN against numbers recorded from its released code (apple/ml-ogen ccfa0df)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from adaptkit.contract.creation import trained_by
from adaptkit.objectives import OGENConfig
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from tests.parity.steps import recorded_optim
from trainers.training.optim import build_optimizer

pytestmark = pytest.mark.usefixtures("dtype")

GENERATOR = {
    "multihead_attn.in_proj_weight": "multihead_attn.in_proj_weight",
    "multihead_attn.in_proj_bias": "multihead_attn.in_proj_bias",
    "multihead_attn.out_proj.weight": "multihead_attn.out_proj.weight",
    "multihead_attn.out_proj.bias": "multihead_attn.out_proj.bias",
    "ffn.0.weight": "ffn.layers.0.weight",
    "ffn.0.bias": "ffn.layers.0.bias",
    "ffn.2.weight": "ffn.layers.1.weight",
    "ffn.2.bias": "ffn.layers.1.bias",
}
LEARNT = {"inner.context.ctx": "ctx"} | {f"objective.generator.{ours}": name for ours, name in GENERATOR.items()}


class Recorded:
    """CoOp under the released objective, as it stood in the recorded epoch."""

    def __init__(self, golden, folder):
        settings = golden.settings
        self.golden, self.backbone = golden, tiny_backbone(settings["clip"], folder)
        method = create_method("coop", self.backbone, settings["classes"], ctx_init=settings["ctx_init"])
        golden.check("init/ctx", method.context.ctx)
        method.to(torch.get_default_dtype())
        config = OGENConfig(
            unknown_names="dataset_new",
            neighbours=settings["k"],
            heads=settings["num_heads"],
            dropout=0.0,
            noise="uniform",
            rec_factor=settings["mse_factor"],
            teacher_weight=0.0,
        )
        self.trainee = trained_by(method, [("ogen", config)])
        self.objective = self.trainee.objective
        self.objective.use_statistics(golden["features_mean_base"], golden["features_std_base"])
        with pytest.warns(UserWarning, match="no longer unknown"):
            self.objective.use_new_names(method, tuple(settings["classes_new"]))
        self.learnt = self.trainee.learnt_parameters()
        assert {f"init/{name}" for name in LEARNT.values()} == {n for n in golden.tensors if n.startswith("init/")}
        with torch.no_grad():
            for ours, name in LEARNT.items():
                self.learnt[ours].copy_(golden[f"init/{name}"])
        self.noises = iter(golden["noise"])
        self.objective.noise_of = lambda spread: next(self.noises)
        self.trainee.begin_training(settings["max_epoch"])  # of one step each
        self.trainee.before_step(settings["epoch"])
        self.trainee.train()

    def batch(self, step):
        images, labels = batch(step)
        return self.backbone.encode_image(images), labels


@pytest.fixture(params=variants("ogen"))
def recorded(request, golden_folder):
    return Recorded(Golden("ogen", request.param), golden_folder)


def test_the_passes_equal_the_released_code(recorded):
    from adaptkit.objectives.ogen import Given, features_of_known, make, nearest_new

    golden, objective, method = recorded.golden, recorded.objective, recorded.trainee.inner
    x, labels = recorded.batch(0)
    assert torch.equal(objective.near, golden["closest_classes_base"])
    weights, new_weights = method.class_weights(), objective.unknown.weights(method)
    nearest = nearest_new(weights, new_weights, labels, golden.settings["k"])
    near = objective.near[labels]
    known = features_of_known(objective.means[near], objective.stds[near], golden["noise"][0], "uniform")
    given = Given(F.normalize(x, dim=-1), labels, near, known, nearest)
    made = make(objective.generator, weights, new_weights, given, recorded.backbone.logit_scale.exp())
    assert torch.equal(labels, golden["forward/label_base_unknown"])
    assert torch.equal(near.flatten(), golden["forward/label_base_known"])
    assert torch.equal(nearest.flatten(), golden["forward/label_new"])
    golden.check("forward/i_base_unknown", given.features)
    golden.check("forward/i_base_known", known.flatten(0, 1))
    golden.check("forward/i_base_unknown_pred", made.unknown)
    golden.check("forward/i_base_known_pred", made.known)
    golden.check("forward/logits_base_unknown", made.unknown_logits)
    golden.check("forward/logits_base_known", made.known_logits)
    golden.check("forward/logits_new", made.new_logits)
    golden.check("forward/logits", method.logits(x))
    if "forward2/i_base_known" in golden:
        again = features_of_known(objective.means[near], objective.stds[near], golden["noise"][1], "uniform")
        golden.check("forward2/i_base_known", again.flatten(0, 1))


def test_training_equals_the_released_code(recorded):
    golden, trainee, learnt = recorded.golden, recorded.trainee, recorded.learnt
    optimizer = build_optimizer(learnt.values(), recorded_optim(golden))
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(trainee.backward(*recorded.batch(step)))
        if step == 0:
            for ours, name in LEARNT.items():
                gradient = learnt[ours].grad
                golden.check(f"grad/{name}", torch.zeros_like(learnt[ours]) if gradient is None else gradient)
        optimizer.step()
        if step + 1 in (1, 5):
            for ours, name in LEARNT.items():
                golden.check_trained(f"step{step + 1}/{name}", learnt[ours])
    golden.check_trained("train_losses/loss", torch.stack(losses))
    assert next(recorded.noises, None) is None  # as many draws as the released code had


def test_the_prompts_have_the_released_code_s_tokens(recorded):
    golden, method = recorded.golden, recorded.trainee.inner
    for classes, recorded_ids in (("classes", "token_ids"), ("classes_new", "token_ids_new")):
        method.set_classes(golden.settings[classes])
        prompts = method.context.encoder.prompts
        fixed = prompts.slots < 0
        assert torch.equal(prompts.ids[fixed], golden[recorded_ids][fixed])
