from collections import Counter

from datasets_fewshot import Split, draw, items_hash
from datasets_fewshot.dataset import Item


def split_of(classes, images):
    items = [
        Item(f"{label}/{image}.jpg", label, f"class {label}") for label in range(classes) for image in range(images)
    ]
    return Split(tuple(items), tuple(Item(f"val/{i.path}", i.label, i.classname) for i in items), ())


def test_shots_fall_from_all_to_one_over_the_classes():
    drawn = draw("long_tailed", split_of(5, 20), 16, 1)
    assert sorted(Counter(item.label for item in drawn.train).values()) == [1, 2, 4, 8, 16]
    assert sorted(Counter(item.label for item in drawn.val).values()) == [1, 2, 4, 4, 4]


def test_a_seed_is_one_draw_and_another_seed_orders_classes_otherwise():
    hashes = [items_hash(draw("long_tailed", split_of(7, 20), 16, seed).train) for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_class_has_an_image_and_small_ones_give_what_they_have():
    drawn = draw("long_tailed", split_of(3, 2), 16, 1)
    counts = Counter(item.label for item in drawn.train)
    assert set(counts) == {0, 1, 2}
    assert max(counts.values()) == 2
    assert len(draw("long_tailed", split_of(1, 5), 4, 1).train) == 4
