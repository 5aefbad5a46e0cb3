"""Words of captions: which are candidates, in which order."""

import gzip

import pytest

from adaptkit.regular_file import FileError
from adaptkit.texts.cased.candidates import CandidateOptions, candidates, candidates_or_object, keep_kinds
from adaptkit.texts.cased.lexicon import lexicon, read_lexicon


def test_frequent_words_come_first_and_equal_ones_as_they_occur():
    captions = ["grass and a beagle dog", "two beagles, dogs of England", "a dog on grass"]
    assert candidates(captions) == ["dog", "grass", "beagle"]


def test_a_word_stays_if_one_of_its_occurrences_passes():
    verdicts = iter([False, True, False, False])
    assert candidates(["running dog", "running dog"], keeps=lambda words: [next(verdicts) for _ in words]) == ["dog"]
    verdicts = iter([False, False, True, False])
    assert candidates(["running dog", "running dog"], keeps=lambda words: [next(verdicts) for _ in words]) == [
        "running"
    ]


def test_captions_without_words_give_object():
    assert candidates(["!!!", "12 34"]) == []
    assert candidates_or_object(["!!!", "12 34"]) == ["object"]
    assert candidates_or_object([]) == ["object"]


def test_the_threshold_falls_to_the_largest_count():
    assert candidates(["a red car", "a boat"]) == ["red", "car", "boat"]
    assert candidates(["red car, red car, boat"], CandidateOptions(min_count=5)) == ["red", "car"]


def test_stop_words_and_lengths_are_options():
    captions = ["photos of an ox", "photo of an ox"]
    assert candidates_or_object(captions) == ["object"]
    chosen = CandidateOptions(stop_words=(), min_letters=2)
    assert candidates(captions, chosen, keeps=lambda words: [word not in ("of", "an") for word in words]) == [
        "photo",
        "ox",
    ]


def test_pairs_of_nouns_are_candidates_if_asked_for():
    captions = ["a polar bear on ice", "polar bears", "a bear"]
    assert "polar_bear" not in candidates(captions)
    both = ["a guide dog", "a guide dog at work"]
    assert candidates(both, CandidateOptions(bigrams=True))[0] == "guide_dog"


def test_a_word_filter_has_to_say_one_thing_of_each_word():
    with pytest.raises(ValueError, match="gave 1 answers for 2 words"):
        keep_kinds("two words", lambda words: [True])


def test_the_lexicon_knows_things_and_leaves_grammar_out():
    known = lexicon()
    assert all(word in known for word in ("dog", "green", "running", "painted", "avocado"))
    assert not any(word in known for word in ("the", "with", "was", "wa", "who", "two", "quickly", "zzqx"))
    assert known.is_noun("dog")
    assert not known.is_noun("green") or "green" in known.nouns


def test_a_damaged_lexicon_is_one_clear_error(tmp_path):
    path = tmp_path / "words.txt.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(FileError, match="is damaged"):
        read_lexicon(path)
    path.write_bytes(gzip.compress(b"q word"))
    with pytest.raises(FileError, match="expected kinds n, a or v"):
        read_lexicon(path)
    with pytest.raises(FileNotFoundError):
        read_lexicon(tmp_path / "none.gz")
