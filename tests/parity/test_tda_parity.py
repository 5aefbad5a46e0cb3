"""TDA against numbers recorded from its released code (kdiAAA/TDA e697fb0), which have no CLIP model in them."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from adaptkit.contract.test_time import Seen
from adaptkit.test_time.tda import cached_items, empty_caches, mean_of_kept_views
from tests.helpers.golden import Golden, in_float64, variants

pytestmark = pytest.mark.usefixtures("dtype")


def build(golden, tiny_clip):
    settings = golden.settings
    positive, negative = settings["positive"], settings["negative"]
    return create_method(
        "tda",
        tiny_clip,
        [f"class {label}" for label in range(settings["n_classes"])],
        alpha=positive["alpha"],
        beta=positive["beta"],
        positive_capacity=positive["shot_capacity"] if positive["enabled"] else 0,
        negative_alpha=negative["alpha"],
        negative_beta=negative["beta"],
        negative_capacity=negative["shot_capacity"] if negative["enabled"] else 0,
        least_entropy=negative["entropy_threshold"]["lower"],
        most_entropy=negative["entropy_threshold"]["upper"],
        least_probability=negative["mask_threshold"]["lower"],
        most_probability=negative["mask_threshold"]["upper"],
        n_views=settings["n_views"],
    ).eval()


@pytest.mark.parametrize("variant", variants("tda"))
def test_tda_equals_the_released_code(variant, tiny_clip):
    golden = Golden("tda", variant)
    method, share = build(golden, tiny_clip), 0.1
    features = F.normalize(golden["draw/features"], dim=-1)  # (N, V, D)
    logits = 100 * features @ golden["draw/clip_weights"]
    viewed = [mean_of_kept_views(*one, share) for one in zip(features, logits, strict=True)]
    golden.check("image_features", torch.stack([image.feature for image in viewed]))
    golden.check("clip_logits", torch.stack([image.logits for image in viewed]))
    golden.check("probability", torch.stack([image.probabilities for image in viewed]))
    golden.check("entropy", torch.stack([image.entropy for image in viewed]))
    golden.check("prediction", torch.stack([image.logits.argmax() for image in viewed]))

    memory = empty_caches(method.config, *golden["draw/clip_weights"].T.shape, dtype=torch.get_default_dtype())
    looked = [method.look(memory, Seen(*one)) for one in zip(features.split(1), logits.split(1), strict=True)]
    corrected = torch.stack(looked)
    golden.check("logits", corrected)
    golden.check("predictions_final", corrected.argmax(dim=1))
    right = (corrected.argmax(dim=1) == golden["draw/labels"]).double().mean()
    torch.testing.assert_close(100 * right, golden["accuracy"])
    for cache in ("positive", "negative"):
        items = cached_items(memory, cache)
        if f"final_cache/{cache}/class" not in golden:
            assert not len(items.labels)
            continue
        golden.check(f"final_cache/{cache}/class", items.labels)
        golden.check(f"final_cache/{cache}/entropy", items.entropies)
        golden.check(f"final_cache/{cache}/image", items.images)
    assert corrected.dtype == (torch.float64 if in_float64() else torch.float32)
