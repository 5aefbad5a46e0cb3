"""CLOSE's adapters and encoding against numbers recorded from its released code (allenai/close 80f8db0)."""

import pytest
import torch
from torch import nn

from adaptkit.heads.close.adapters import CovarianceNoise, LinearMap, MeanShift, Noise, RandomShift, unit
from adaptkit.heads.close.encoding import SoftTokens, record_features
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

ENCODED = "encode_average"


def recorded_adapter(golden: Golden) -> nn.Module:
    """The adapter with the recorded settings and statistics."""
    said = golden.settings
    sigma, renorm = said["sigma"], said.get("renorm", False)
    if said["adapter"] == "noise":
        return Noise(sigma, said.get("renormalize", True))
    if said["adapter"] == "mean_shift":
        return MeanShift(golden["mean_shift"], sigma, said["scale"], renorm)
    if said["adapter"] == "random_shift":
        return RandomShift(golden["direction"], sigma, said["scale"], renorm)
    if said["adapter"] == "cov":
        return CovarianceNoise(golden["cov"], golden["mean_shift"], sigma, said["shift"], said["cov"])
    return LinearMap(golden["coef"], golden["bias"], sigma, renorm)


@pytest.mark.parametrize("variant", [name for name in variants("close") if name != ENCODED])
def test_an_adapter_equals_the_released_one_in_both_modes(variant):
    golden = Golden("close", variant)
    adapter = recorded_adapter(golden)
    drawn = {"covariance_noise": golden["cov_noise"]} if "cov_noise" in golden else {}
    golden.check("train", adapter.train()(golden["u"], golden["noise"], **drawn))
    golden.check("eval", adapter.eval()(golden["u"]))


def test_records_with_several_captions_and_soft_tokens_equal_the_released_encoding() -> None:
    golden = Golden("close", ENCODED)
    said = golden.settings
    noise = Noise(said["sigma"])
    tokens = SoftTokens(golden["text_raw"].shape[1], said["t5_dim"], said["n_tokens"], said["n_constant"])
    with torch.no_grad():
        tokens.linear.weight.copy_(golden["init/lin.weight"])
        tokens.linear.bias.copy_(golden["init/lin.bias"])
    records = record_features(golden["text_raw"], golden["segments"])
    perturbed = noise.train()(records, golden["noise"])
    golden.check("text_features_train", perturbed)
    golden.check("text_tokens_train", tokens(perturbed))
    golden.check("text_features_eval", noise.eval()(records))
    images = unit(golden["image_raw"])
    golden.check("image_features", images)
    golden.check("image_tokens", tokens(images))
