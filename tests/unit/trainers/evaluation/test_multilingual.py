"""Accuracy per language: which images count, which classes tie, and what stands beside it."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import ClassSet, class_weights
from adaptkit.texts.babel import TextReader
from datasets_fewshot.languages import LabelsError, LanguageLabels, MultilingualLabels
from trainers.evaluation.multilingual import as_table, english_labels, eval_languages, notes

ENGLISH = english_labels(["dog", "cat", "oak_tree", "crane"], ["a photo of a {}.", "the {}."])


def axes(texts):
    """Texts as unit vectors: the class that a word stands for."""
    words = {"Hund": 0, "dog": 0, "Katze": 1, "cat": 1, "Eiche": 2, "oak tree": 2, "Kran": 3, "crane": 3, "Kranich": 3}
    places = [next(place for word, place in words.items() if word in text) for text in texts]
    return torch.eye(4)[places]


def table_of(labels, features, truth, settings=("label",), **options):
    labels = labels if isinstance(labels, MultilingualLabels) else MultilingualLabels([labels])
    return eval_languages(axes, features, truth, labels, ENGLISH, settings, **options)


def test_images_of_other_classes_are_ignored():
    german = LanguageLabels("de", (2, 0), (("Eiche",), ("Hund",)))
    features, truth = torch.eye(4), torch.arange(4)
    score = table_of(german, features, truth).scores[0]
    assert (score.images, score.classes, score.accuracy, score.english, score.chance) == (2, 2, 100, 100, 50)
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    more = table_of(german, torch.cat([features, noise]), torch.cat([truth, torch.tensor([1, 3, 1, 3, 1])]))
    assert more.scores[0] == score


def test_an_image_of_either_class_with_the_same_name_is_right():
    labels = LanguageLabels("de", (0, 3, 1), (("Hund",), ("Kran",), ("Kran",)))
    features, truth = torch.eye(4)[[0, 3, 3]], torch.tensor([0, 3, 1])
    score = table_of(labels, features, truth).scores[0]
    assert (score.accuracy, score.tied_classes) == (100, 2)
    assert "2 of 3 classes share their texts; either is right" in notes(table_of(labels, features, truth))[0]
    released = table_of(labels, features, truth, ties="first").scores[0]
    assert released.accuracy == pytest.approx(200 / 3)


def test_several_names_are_averaged():
    weights = {"a": torch.tensor([1.0, 0]), "b": torch.tensor([0, 1.0]), "c": torch.tensor([0.6, 0.8])}
    labels = MultilingualLabels([LanguageLabels("xx", (0, 1), (("a", "b"), ("c",)))])

    def encode(texts):
        return torch.stack([weights[text] for text in texts])

    # The mean of a and b lies nearer to (1, 0.9) than c does, and c nearer than a alone.
    features, truth = torch.tensor([[1.0, 0.9]]), torch.tensor([0])
    table = eval_languages(encode, features, truth, labels, english_labels(["a", "c"]))
    assert (table.scores[0].accuracy, table.scores[0].english) == (100, 0)


def test_a_language_without_templates_is_left_out_of_their_setting_alone():
    german = LanguageLabels("de", (0, 1), (("Hund",), ("Katze",)))
    swiss = LanguageLabels("gsw", (0, 1), (("Hund",), ("Katze",)), ("es {}",))
    languages = MultilingualLabels([german, swiss])
    table = table_of(languages, torch.eye(4), torch.arange(4), ("label", "translated_templates"))
    assert [(s.language, s.setting) for s in table.scores] == [
        ("de", "label"),
        ("gsw", "label"),
        ("gsw", "translated_templates"),
    ]
    assert table.left_out == (("de", "translated_templates"),)
    assert any("de has no templates of its own" in note for note in notes(table))


def test_english_on_all_classes_is_the_plain_zero_shot(tiny_clip):
    generator = torch.Generator().manual_seed(0)
    features, truth = torch.randn(60, tiny_clip.embed_dim, generator=generator), torch.arange(60) % 4
    reader = TextReader(tiny_clip)
    languages = MultilingualLabels([ENGLISH])
    score = eval_languages(reader.encode, features, truth, languages, ENGLISH, ["english_templates"]).scores[0]
    weights = class_weights(tiny_clip, ClassSet(("dog", "cat", "oak tree", "crane"), ENGLISH.templates))
    plain = (F.normalize(features, dim=-1) @ weights.T).argmax(dim=-1) == truth
    assert score.accuracy == score.english == pytest.approx(100 * float(plain.double().mean()))


def test_a_language_has_the_same_result_alone_and_among_others(tiny_clip):
    features = torch.randn(40, tiny_clip.embed_dim, generator=torch.Generator().manual_seed(0))
    truth, reader = torch.arange(40) % 4, TextReader(tiny_clip)
    languages = [
        LanguageLabels("de", (3, 0, 1), (("Kran",), ("Hund",), ("Katze",))),
        LanguageLabels("fi", (0, 2), (("koira",), ("tammi",))),
    ]
    both = eval_languages(reader.encode, features, truth, MultilingualLabels(languages), ENGLISH, read=reader.read)
    alone = [
        eval_languages(reader.encode, features, truth, MultilingualLabels([one]), ENGLISH, read=reader.read).scores[0]
        for one in languages
    ]
    assert list(both.scores) == alone


def test_names_that_are_cut_to_the_same_tie_and_are_counted(tiny_clip):
    reader = TextReader(tiny_clip)
    start = "очень " * 40
    labels = MultilingualLabels([LanguageLabels("ru", (0, 1), ((start + "один",), (start + "два",)))])
    features = torch.randn(4, tiny_clip.embed_dim)
    english = english_labels(["one", "two"])
    truth = torch.tensor([0, 1, 0, 1])
    table = eval_languages(reader.encode, features, truth, labels, english, read=reader.read, cut=reader.cut)
    score = table.scores[0]
    assert (score.cut, score.tied_classes, score.accuracy) == (2, 2, 100)
    assert any("2 of 2 classes have texts that are longer than the context" in note for note in notes(table))


def test_groups_are_by_the_number_of_classes():
    names = [f"dog {number}" for number in range(400)]
    english = english_labels(names)

    def some(code, count):
        return LanguageLabels(code, tuple(range(count)), tuple((name,) for name in names[:count]))

    languages = MultilingualLabels([some("aa", 100), some("bb", 101), some("cc", 334), english])
    features = F.one_hot(torch.arange(400)).float()

    def encode(texts):
        return features[[int(text.split()[1]) for text in texts]]

    table = eval_languages(encode, features, torch.arange(400), languages, english)
    assert table.group_means("label") == {"very low": (1, 100.0), "low": (1, 100.0), "mid": (1, 100.0)}
    assert len(as_table(table).splitlines()) == 5


def test_wrong_input_is_refused():
    german = LanguageLabels("de", (0,), (("Hund",),))
    with pytest.raises(ValueError, match="4 image features and 3 labels"):
        table_of(german, torch.eye(4), torch.arange(3))
    with pytest.raises(ValueError, match="setting 'name' is unknown; take one of label"):
        table_of(german, torch.eye(4), torch.arange(4), ("name",))
    with pytest.raises(LabelsError, match="no image is of the 1 classes that language de names"):
        table_of(german, torch.eye(4)[:1], torch.tensor([2]))
    with pytest.raises(LabelsError, match="language en has no name for class 9"):
        table_of(LanguageLabels("de", (0, 9), (("Hund",), ("Katze",))), torch.eye(4), torch.arange(4))
