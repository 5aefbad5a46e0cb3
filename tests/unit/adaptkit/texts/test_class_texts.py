"""A file of what a person says of classes: its three forms read alike, and what it must not say is refused."""

import json

import pytest

import adaptkit
from adaptkit import ClassSet, create_method, list_methods, method_class
from adaptkit.texts.class_texts import ClassText, ClassTexts, read_class_texts, texts_of

CLASSES = ClassSet(("ankle_boot", "bag", "sandal"), ("a photo of a {}.", "a {}."))
YAML = """
ankle boot:
  name: boot
  descriptors: [laces, has a heel]
  sentences: ["a {} seen from its side."]
Bag: [a handle]
"""
TABLE = """class,name,descriptor,sentence
ankle boot,boot,laces,a {} seen from its side.
ankle boot,,has a heel,
Bag,,a handle,
"""


@pytest.fixture(scope="module")
def mini():
    return adaptkit.load_backbone("adaptkit-mini")


def written(tmp_path, text, name="texts.yaml"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_yaml_json_and_a_table_say_the_same(tmp_path):
    from_yaml = read_class_texts(written(tmp_path, YAML))
    content = {"ankle boot": {"name": "boot", "descriptors": ["laces", "has a heel"]}, "Bag": ["a handle"]}
    content["ankle boot"]["sentences"] = ["a {} seen from its side."]
    assert read_class_texts(written(tmp_path, json.dumps(content), "texts.json")) == from_yaml
    assert read_class_texts(written(tmp_path, TABLE, "texts.csv")) == from_yaml
    assert read_class_texts(written(tmp_path, TABLE.replace(",", ";"), "texts.csv")) == from_yaml
    assert read_class_texts(written(tmp_path, TABLE.replace(",", "\t"), "texts.tsv")) == from_yaml


def test_sentences_stand_for_templates_and_descriptors_beside_them(tmp_path):
    described = read_class_texts(written(tmp_path, YAML)).described(CLASSES)
    assert described.classnames == CLASSES.classnames, "answers keep the classes' names"
    assert described.readable == ("boot", "bag", "sandal")
    boot, bag, sandal = described.texts
    assert boot[0] == "a boot seen from its side."
    assert boot[1:3] == ("a photo of a boot, which has laces.", "a boot, which has laces.")
    assert bag == ("a photo of a bag.", "a bag.", "a photo of a bag, which is a handle.", "a bag, which is a handle.")
    assert sandal == ("a photo of a sandal.", "a sandal.")


def test_a_method_without_sentences_reads_the_names(tmp_path):
    texts = read_class_texts(written(tmp_path, YAML))
    described = texts.described(CLASSES, takes_sentences=False)
    assert described.sentences is None
    assert described.spoken == ("boot", "bag", "sandal")
    only_descriptors = ClassTexts(texts.classes[1:])
    assert only_descriptors.described(CLASSES, takes_sentences=False) == CLASSES


def test_texts_that_are_too_long_are_cut(tmp_path, mini):
    long = "bag: {sentences: [a photo of a bag, " + "with a very long handle " * 9 + "]}"
    described = read_class_texts(written(tmp_path, long)).described(CLASSES, tokenizer=mini.tokenizer)
    assert described.texts[1][0].startswith("a photo of a bag")
    adaptkit.class_weights(mini, described)


def test_switched_off_descriptors_of_the_older_form_are_left_out(tmp_path):
    entry = {"descriptors": [{"text": "laces", "enabled": False}, {"text": "a heel"}], "source": "by hand"}
    texts = read_class_texts(written(tmp_path, json.dumps({"bag": entry}), "texts.json"))
    assert texts.classes == (ClassText("bag", descriptors=("a heel",)),)


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        ("bag: purse\nbag: sack", "texts.yaml", "'bag' stands twice, again on line 2"),
        ('{"bag": "purse", "bag": "sack"}', "texts.json", "'bag' stands twice"),
        ("", "t.yaml", "is empty; write a line for a class"),
        ("  \n", "t.csv", "is empty"),
        ("- bag\n", "t.yaml", "holds a list; expected a mapping"),
        ("{}", "t.json", "holds a dict; expected a mapping"),
        ("bag: 5", "t.yaml", "class 'bag' has 5; expected a name, a list"),
        ("bag: ''", "t.yaml", "class 'bag' has the name ''"),
        ("bag: {name: [a]}", "t.yaml", "has the name \\['a'\\]; expected a text"),
        ("bag: {colour: red}", "t.yaml", "has the field 'colour'; the fields are name, descriptors, sentences"),
        ("bag: {descriptors: red}", "t.yaml", "has the descriptors 'red'; expected a list of texts"),
        ("bag: {sentences: [1]}", "t.yaml", "has the sentences \\[1\\]; expected a list of texts"),
        ("bag: []", "t.yaml", "says nothing of the class 'bag'"),
        ("bag: [a handle]\nBag: [leather]", "t.yaml", "describes the class 'Bag' twice, also as 'bag'"),
        ("yes: [a handle]", "t.yaml", "has the class True; .* put its name in quotes"),
        ('{"bag": [{"text": "x", "weight": 2}]}', "t.json", "a descriptor of weight 2; here all weigh alike"),
        ("bag: !!python/object:os.system [a]", "t.yaml", "is not YAML"),
        ("name,descriptor\nbag,red\n", "t.csv", "has the columns 'name', 'descriptor'; expected class"),
        ("class,colour\nbag,red\n", "t.csv", "has the columns"),
        ("class,name\n", "t.csv", "has no row below its columns"),
        ("class,name\nbag,sack\nbag,purse\n", "t.csv", "row 3: the class 'bag' is called 'sack' and 'purse'"),
        ("class,name\nbag,sack,red\n", "t.csv", "row 2: .*; expected class,name"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text, name, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_class_texts(written(tmp_path, text, name))


def test_unknown_classes_are_named(tmp_path):
    texts = read_class_texts(written(tmp_path, "unicorn: [a horn]"))
    with pytest.raises(ValueError, match="describes 1 classes that the data do not have, such as 'unicorn'"):
        texts.check(CLASSES.classnames)


def test_classes_that_nothing_is_said_of_are_found(tmp_path):
    assert read_class_texts(written(tmp_path, YAML)).left_out(CLASSES.classnames) == ("sandal",)


def test_what_a_saved_method_reads_is_read_again(tmp_path, mini):
    described = read_class_texts(written(tmp_path, YAML)).described(CLASSES)
    create_method("zero_shot", mini, described).save_pretrained(tmp_path / "saved")
    loaded = adaptkit.load(tmp_path / "saved", mini)
    assert loaded.classes == described
    again = texts_of(loaded.classes)
    assert again is not None
    assert again.described(ClassSet(CLASSES.classnames[::-1], CLASSES.templates)).texts == described.texts[::-1]
    assert texts_of(CLASSES) is None


@pytest.mark.parametrize("method", ["coop", "taskres", "zero_shot", "clip_adapter"])
def test_spoken_names_are_what_prompts_say(method, mini):
    options = {"n_ctx": 4, "ctx_init": "a photo of a"} if method == "coop" else {}
    spoken = ClassSet(("a1", "a2"), spoken=("corgi", "violin"))
    said = create_method(method, mini, spoken, **options).class_weights()
    meant = create_method(method, mini, ("corgi", "violin"), **options).class_weights()
    assert said.equal(meant)


def test_methods_that_take_sentences_say_so():
    takes = {name for name in list_methods() if method_class(name).takes_sentences}
    assert {"zero_shot", "clip_adapter", "tip_adapter"} <= takes
    assert not {"coop", "taskres", "linear_probe"} & takes


@pytest.mark.parametrize("text", ["bag: purse\nsandal: purse", "bag: ankle boot", "bag: Sandal"])
def test_names_that_prompts_could_not_tell_apart_are_refused(tmp_path, text):
    texts = read_class_texts(written(tmp_path, text))
    with pytest.raises(ValueError, match="so that nothing tells them apart; give them names that differ"):
        texts.described(CLASSES)


def test_names_may_go_round(tmp_path):
    texts = read_class_texts(written(tmp_path, "bag: sandal\nsandal: bag"))
    assert texts.described(CLASSES).readable == ("ankle boot", "sandal", "bag")
