"""Settings of methods and wrappers that take no part: refused in the user's words, said of the user's file."""

import warnings

import pytest

from trainers.config.load import load_bench
from trainers.config.values import ConfigError


@pytest.mark.parametrize(
    "words",
    [
        ["MAPLE.N_CTX", "3"],
        ["DAS.ENCODER", "vision"],
        ["FDT.N_CODES", "64"],
        ["KGCOOP.CTX_INIT", "a photo of a", "COOP.N_CTX", "4"],
    ],
)
def test_a_word_for_what_takes_no_part_is_refused(words):
    with pytest.raises(ConfigError, match=rf"{words[0]} would change nothing: .* takes no part, only coop; leave it"):
        load_bench(overrides=["METHODS", "[coop]", *words])


def test_words_for_what_takes_part_are_taken():
    words = ["METHODS", "[coop, maple]", "WRAP", "[das]", "MAPLE.N_CTX", "3", "COOP.N_CTX", "4", "DAS.SKIP_VISION", "1"]
    runs = load_bench(overrides=words).runs
    assert {run.options.n_ctx for run in runs} == {3, 4}
    load_bench(overrides=["METHODS", "[all]", "MAPLE.N_CTX", "3"])
    load_bench(overrides=["METHODS", "[coop]", "OBJECTIVE", "[cross_entropy]"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("MAPLE: {N_CTX: 3}", True),
        ("{OPTIM: {EPOCHS: 3}, MAPLE: {N_CTX: 3}, DAS: {SKIP_VISION: 1}}", True),
        ("{COOP: {N_CTX: 3}, MAPLE: {N_CTX: 3}}", False),
        ("OPTIM: {EPOCHS: 3}", False),
    ],
)
def test_a_file_for_other_methods_alone_is_said(content, said, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load_bench(file, ["METHODS", "[coop]"])
    texts = [str(warning.message) for warning in heard]
    assert any("mine.yaml sets MAPLE" in text and "only coop" in text for text in texts) == said, texts
