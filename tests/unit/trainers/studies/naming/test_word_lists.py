"""The shipped word lists, as made of files of WordNet."""

import gzip

import pytest

from trainers.studies.naming.word_lists import main, participles

INDEX_NOUN = """  1 the licence
dog n 1 1 @ 1 1 00000001
canine n 1 0 1 0 00000002
rover n 1 0 1 0 00000003
polar_bear n 1 0 1 0 00000004
"""
DATA_NOUN = """  1 the licence
00000001 05 n 01 dog 0 001 @ 00000002 n 0000 | a pet
00000002 03 n 01 canine 0 000 | abstract here
00000003 05 n 01 Rover 0 001 @i 00000001 n 0000 | one dog
00000004 05 n 01 polar_bear 0 001 @ 00000002 n 0000 | a bear
"""


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("run", {"runing", "running", "runed", "runned"}),
        ("bake", {"baking", "baked"}),
        ("carry", {"carrying", "carried"}),
        ("tie", {"tying", "tied"}),
        ("see", {"seeing", "seed"}),
        ("look_up", set()),
    ],
)
def test_regular_forms_of_verbs(verb, forms):
    assert set(participles(verb)) == forms


def test_common_things_get_a_caption_and_all_words_are_in_the_lexicon(tmp_path, capsys):
    (tmp_path / "index.noun").write_text(INDEX_NOUN)
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    (tmp_path / "index.adj").write_text("green a 1 0 1 0 00000009\n")
    (tmp_path / "index.verb").write_text("dog v 1 0 1 0 00000008\n")
    assert main(["--wordnet", str(tmp_path), "--out", str(tmp_path)]) == 0
    captions = gzip.decompress((tmp_path / "wordnet_captions.txt.gz").read_bytes()).decode().splitlines()
    assert captions == ["a photo of a dog, canine."]  # no abstract ones, no single beings, no rare compounds
    words = gzip.decompress((tmp_path / "wordnet_words.txt.gz").read_bytes()).decode().splitlines()
    assert words == ["a green", "n canine dog rover", "v doged dogged dogging doging"]
    assert "1 lines" in capsys.readouterr().out
