"""Models and tokenizers by name without a network: from folders, from the cache at once, or one line."""

import huggingface_hub.constants
import pytest
import torch

import adaptkit
from adaptkit import load_backbone
from adaptkit.backbone import hub
from adaptkit.backbone.named_parts import tokenizer_in
from benchmarks.shrunk_models import TEXT_CONFIGS, WORDS, shrunk_model, word_tokenizer

TEXTS = ["a cat", "a photo of a dog in the snow."]


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """A hub on a port where nobody listens, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("hf-hub:nobody/nothing",), "open_clip_config.json of hf-hub:nobody/nothing is"),
        (("ViT-B-16-SigLIP", "random"), "the tokenizer of ViT-B-16-SigLIP is"),
        (("roberta-ViT-B-32", "random"), "the tokenizer of roberta-ViT-B-32 is"),
        (("ViT-B-32", "laion2b_s34b_b79k"), "'laion2b_s34b_b79k', the weights of ViT-B-32, is"),
    ],
)
def test_an_unreachable_hub_is_said_in_one_line(unreachable, arguments, what):
    with pytest.raises(FileNotFoundError) as refusal:
        load_backbone(*arguments)
    message = str(refusal.value)
    assert message.startswith(f"{what} not in the local cache, and 127.0.0.1 cannot be reached")
    assert "\n" not in message


def test_the_hub_is_asked_once_and_the_setting_comes_back(unreachable):
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    with hub.hub_asked("nothing"):
        assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE


def test_errors_that_are_not_the_hub_s_pass(unreachable):
    with pytest.raises(ZeroDivisionError), hub.hub_asked("nothing"):
        raise ZeroDivisionError


@pytest.fixture
def folder(tmp_path):
    """A tokenizer and the config of a small text tower, as `save_pretrained` writes them."""
    transformers = pytest.importorskip("transformers")
    specials = ["<s>", "<pad>", "</s>"]
    word_tokenizer(specials, [*specials, "<unk>", *WORDS]).save_pretrained(tmp_path / "text")
    config = transformers.AutoConfig.for_model("roberta", vocab_size=100, **TEXT_CONFIGS["roberta"])
    config.max_position_embeddings = 514
    config.save_pretrained(tmp_path / "text")
    return tmp_path / "text"


def test_a_folder_stands_in_for_the_hub_s_tokenizer_and_config(unreachable, folder):
    backbone = load_backbone("roberta-ViT-B-32", "random", tokenizer=folder)
    assert backbone.model.text.config.hidden_size == 64
    assert backbone.context_length == 512  # RoBERTa's first two of 514 positions belong to no token.
    assert backbone.encode_text(TEXTS).shape == (2, 512)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of a tokenizer at"):
        tokenizer_in(tmp_path / "nothing", {})
    with pytest.raises(ValueError, match="holds no tokenizer of Hugging Face"):
        tokenizer_in(tmp_path, {})


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "nllb-clip-base", "mt5-base-ViT-B-32"])
def test_text_towers_of_hugging_face_run_the_tokens_that_there_are(name):
    model, tokenizer = shrunk_model(name)
    backbone = adaptkit.FrozenCLIP(model, tokenizer, name)
    lengths = []
    model.text.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    tokens = backbone.tokenize(TEXTS)
    with torch.no_grad():
        ours, padded = backbone.encode_text(TEXTS), model.encode_text(tokens)
    assert lengths == [int((tokens != model.text.config.pad_token_id).sum(dim=1).max()), tokens.shape[1]]
    assert lengths[0] < 16 < lengths[1]
    torch.testing.assert_close(ours, padded, rtol=1e-4, atol=1e-5)
