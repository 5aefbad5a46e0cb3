"""A prompt that starts from words starts as the sentence of those words, in every method and on every backbone."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from adaptkit import ClassSet, FrozenCLIP, class_weights, create_method, list_methods, method_config
from tests.helpers.models import FAMILIES, MANNERS, WITH_VIT_BLOCKS, build
from tests.helpers.tokenizers import tokenizer

NAMES = ("cat", "golden retriever", "sea or lake")
WORDS = "a photo of a"
# One block, so that only the tokens in front of the towers are learnt ones.
SHALLOW = {"depth": 1, "depth_text": 1, "depth_vision": 1}


def options_of(name):
    return {field.name for field in dataclasses.fields(method_config(name))}


FROM_PHRASE = [name for name in list_methods() if "ctx_init" in options_of(name)]
FROM_TEMPLATE = [name for name in list_methods() if "words_init" in options_of(name)]


def length_option(name):
    return "n_ctx_text" if "n_ctx_text" in options_of(name) else "n_ctx"


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request) -> FrozenCLIP:
    if request.param in MANNERS:
        pytest.importorskip("transformers")
    return build(request.param)


def made(name, backbone, **options):
    """The method, or None where the image tower has no blocks for its prompts."""
    own = {key: value for key, value in SHALLOW.items() if key in options_of(name)} | options
    try:
        return create_method(name, backbone, ClassSet(NAMES), **own)
    except ValueError as error:
        assert "image tower" in str(error)
        assert backbone.name not in WITH_VIT_BLOCKS
        return None


def features(method):
    """Class weights of the learnt prompt alone: no image has shifted it."""
    return F.normalize(method.context(), dim=-1).detach()


@pytest.mark.parametrize("name", [*FROM_PHRASE, *FROM_TEMPLATE])
def test_it_starts_as_zero_shot_of_the_same_sentence(name, backbone):
    method = made(name, backbone, **({"ctx_init": WORDS} if name in FROM_PHRASE else {"n_ctx": 4}))
    if method is not None:
        expected = class_weights(backbone, ClassSet(NAMES, (WORDS + " {}.",)))
        torch.testing.assert_close(features(method), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("position", "template"), [("middle", "a photo {} of a."), ("front", "{} a photo of a.")])
def test_so_it_does_with_the_name_elsewhere(position, template, backbone):
    method = made("coop", backbone, ctx_init=WORDS, class_token_position=position)
    expected = class_weights(backbone, ClassSet(NAMES, (template,)))
    torch.testing.assert_close(features(method), expected, rtol=1e-4, atol=1e-5)


def test_other_texts_stand_in_the_place_of_a_name(backbone):
    method = made("coop", backbone, ctx_init=WORDS)
    expected = class_weights(backbone, ClassSet(("dog",), (WORDS + " {}.",)))
    torch.testing.assert_close(
        F.normalize(method.encode_text(["dog"]).detach(), dim=-1), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("n_ctx", [1, 3, 4, 5, 6])
@pytest.mark.parametrize("phrase", ["a", "a_photo_of_a", "this is an image of"])
@pytest.mark.parametrize("name", FROM_PHRASE)
def test_no_word_of_a_phrase_is_dropped_in_silence(name, phrase, n_ctx, tiny_clip):
    options = {key: value for key, value in SHALLOW.items() if key in options_of(name)}
    options |= {length_option(name): n_ctx, "ctx_init": phrase}
    try:
        method = create_method(name, tiny_clip, NAMES, **options)
    except ValueError as error:
        assert len(phrase.replace("_", " ").split()) < n_ctx
        for said in (repr(phrase), f"{length_option(name)}={n_ctx}", 'set ctx_init=""'):
            assert said in str(error)
        return
    expected = class_weights(tiny_clip, ClassSet(NAMES, (phrase.replace("_", " ") + " {}.",)))
    torch.testing.assert_close(features(method), expected, rtol=1e-4, atol=1e-5)


def test_a_tokenizer_that_no_prompt_can_imitate_is_refused(tiny_clip):
    pytest.importorskip("transformers")
    backbone = FrozenCLIP(FAMILIES["worldwide_style"](), tokenizer("padded_in_front"), "padded in front")
    create_method("clip_adapter", backbone, NAMES)
    with pytest.raises(ValueError, match=r"turns 'a' into \[0, 0, .* such as clip_adapter"):
        create_method("coop", backbone, NAMES, ctx_init=WORDS)
