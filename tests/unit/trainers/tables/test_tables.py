import dataclasses
import io
import re

import numpy as np
import pytest
from rich.console import Console

from tests.helpers.records import make_record, make_score
from trainers.protocols.base_to_novel import BASE_TO_NOVEL
from trainers.protocols.cross_dataset import CROSS_DATASET
from trainers.protocols.few_shot import FEW_SHOT
from trainers.protocols.registry import get_protocol, list_protocols
from trainers.tables.aggregate import average_cell, by_label, harmonic_cell, metric_cell, pooled_difference
from trainers.tables.formats import MISSING
from trainers.tables.layouts import table_by_shots, table_by_tests, wide_table_from_source
from trainers.tables.tables import tables


def cells_of(table, first, second):
    return next(row for row in table.rows if row[:2] == (first, second))


def test_mean_and_population_std_over_seeds():
    records = [make_record(seed=seed, base=base) for seed, base in ((1, 50.0), (2, 60.0), (3, 70.0))]
    cell = metric_cell(records, "base")
    assert cell.mean == 60.0
    assert cell.std == pytest.approx(np.std([50, 60, 70]))
    assert cell.seeds == (1, 2, 3)


def test_average_row_has_the_harmonic_mean_of_the_means():
    records = [make_record(dataset="a", base=90.0, new=80.0), make_record(dataset="b", base=50.0, new=20.0)]
    base = average_cell({"a": records[:1], "b": records[1:]}, ["a", "b"], "base")
    new = average_cell({"a": records[:1], "b": records[1:]}, ["a", "b"], "new")
    assert (base.mean, new.mean) == (70.0, 50.0)
    assert harmonic_cell(base, new) == pytest.approx(2 * 70 * 50 / 120)


def test_average_spread_is_of_the_averages_per_seed():
    records = [make_record(dataset=d, seed=s, base=b) for d, s, b in
               (("a", 1, 40.0), ("a", 2, 60.0), ("b", 1, 60.0), ("b", 2, 40.0))]  # fmt: skip
    cell = average_cell({"a": records[:2], "b": records[2:]}, ["a", "b"], "base")
    assert (cell.mean, cell.std) == (50.0, 0.0)


def test_missing_data_set_shows_and_empties_the_average():
    table = table_by_tests(BASE_TO_NOVEL, [make_record(dataset="a")], ["a", "b"])
    assert cells_of(table, "b", "coop")[2:] == (MISSING,) * 7
    assert cells_of(table, "average of 2", "coop")[3:6] == (MISSING,) * 3


def test_missing_seed_shows_and_empties_the_average():
    records = [make_record(dataset="a", seed=1), make_record(dataset="a", seed=2), make_record(dataset="b", seed=1)]
    table = table_by_tests(BASE_TO_NOVEL, records, ["a", "b"])
    assert cells_of(table, "b", "coop")[7] == "1"
    assert cells_of(table, "average of 2", "coop")[3] == MISSING


def test_zero_shot_stands_for_every_seed():
    table = table_by_tests(BASE_TO_NOVEL, [make_record(method="zero_shot", seed=0, shots=0)], ["a"])
    row = cells_of(table, "a", "zero_shot")
    assert row[2] == "0"
    assert row[7] == "any"
    assert "±" not in row[3]
    assert any("deterministic" in note for note in table.notes)


def test_different_settings_of_one_method_are_never_averaged():
    records = [make_record(seed=1), make_record(seed=2), make_record(seed=1, epochs=5), make_record(seed=2, epochs=5)]
    labels = by_label(records)
    assert len(labels) == 2
    assert all(label.startswith("coop #") and len(own) == 2 for label, own in labels.items())


def test_data_sets_may_have_shots_of_their_own():
    assert list(by_label([make_record(dataset="a", shots=4), make_record(dataset="b", shots=16)])) == ["coop"]
    assert list(by_label([make_record(shots=4), make_record(shots=16)])) == ["coop, 4 shots", "coop, 16 shots"]


def test_few_shot_table_has_a_column_per_number_of_shots():
    records = [make_record(protocol="few_shot", shots=shots, base=base) for shots, base in ((1, 40.0), (2, 50.0))]
    records.append(make_record(protocol="few_shot", method="zero_shot", shots=0, seed=0, base=30.0))
    table = table_by_shots(FEW_SHOT, records, ["a"])
    assert table.headers[2:5] == ("0 shots", "1 shot", "2 shots")
    assert cells_of(table, "a", "coop")[2:5] == (MISSING, "40.00", "50.00")
    assert cells_of(table, "a", "zero_shot")[2:5] == ("30.00", MISSING, MISSING)


def test_pooled_difference_weighs_images_and_pairs_them():
    ours = [make_record(dataset="a", base=60.0, total=10), make_record(dataset="b", base=50.0, total=30)]
    theirs = [
        make_record(dataset="a", method="zero_shot", seed=0, base=50.0, total=10),
        make_record(dataset="b", method="zero_shot", seed=0, base=40.0, total=30),
    ]
    pooled = pooled_difference(ours, theirs, "base")
    assert (pooled.images, pooled.datasets, pooled.seeds) == (40, 2, 1)
    assert pooled.difference == pytest.approx(10.0)
    differences = np.array([1.0] * 4 + [0.0] * 36)  # the same images right in both, but for 1 of 10 and 3 of 30
    assert pooled.standard_error == pytest.approx(100 * differences.std(ddof=1) / np.sqrt(40))


def test_spread_over_seeds_widens_the_standard_error():
    theirs = [make_record(method="zero_shot", seed=0, base=50.0)]
    steady = pooled_difference([make_record(seed=s, base=60.0) for s in (1, 2)], theirs, "base")
    shaky = pooled_difference([make_record(seed=s, base=b) for s, b in ((1, 50.0), (2, 70.0))], theirs, "base")
    assert shaky.difference == pytest.approx(steady.difference)
    assert shaky.standard_error > steady.standard_error


def test_pooling_refuses_other_test_images():
    ours, theirs = make_record(base=60.0), make_record(method="zero_shot", seed=0)
    other = dataclasses.replace(theirs, scores=tuple(dataclasses.replace(s, items_hash="x") for s in theirs.scores))
    assert pooled_difference([ours], [other], "base") is None


def test_departures_from_the_recipe_are_told_with_their_data_sets():
    records = [make_record(dataset="a", notes=("OPTIM.EPOCHS is 5 (recipe: 200)",)), make_record(dataset="b")]
    notes = table_by_tests(BASE_TO_NOVEL, records, ["a", "b"]).notes
    assert "coop on a: OPTIM.EPOCHS is 5 (recipe: 200)" in notes


def test_what_records_say_of_their_data_is_told_once_for_all_methods():
    records = [
        make_record(dataset=dataset, method=method, seed=int(method == "coop"), notes=("fallback split",))
        for method in ("zero_shot", "coop")
        for dataset in ("a", "b")
    ]
    records.append(make_record(dataset="c"))
    records.append(make_record(dataset="c", method="zero_shot", seed=0))
    notes = table_by_tests(BASE_TO_NOVEL, records, ["a", "b", "c"]).notes
    assert [note for note in notes if "fallback" in note] == ["zero_shot; coop on a, b: fallback split"]


def test_markdown_is_a_table_with_its_notes():
    made = tables([make_record(base=50.0, new=25.0)])
    assert len(made) == 1
    text = made[0].markdown()
    assert "| a | coop | 16 | 50.00 | 25.00 | 33.33 | 20 + 20 | 1 | 1.0 |" in text
    assert text.startswith("### Base to novel")


def test_protocols_and_backbones_get_tables_of_their_own():
    records = [make_record(), make_record(backbone="other"), make_record(protocol="few_shot")]
    assert len(tables(records)) == 3


def test_terminal_table_names_a_data_set_once():
    records = [make_record(), make_record(method="zero_shot", seed=0, shots=0)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table_by_tests(BASE_TO_NOVEL, records, ["a"]).rich())
    lines = console.export_text().splitlines()
    assert sum("average of 1" in line for line in lines) == 1
    assert max(map(len, lines)) <= 80


def transfer_record(dataset="source", method="coop", seed=1, protocol="cross_dataset", **accuracies):
    record = make_record(dataset=dataset, method=method, seed=seed, protocol=protocol)
    return dataclasses.replace(record, scores=tuple(make_score(*pair, 20) for pair in accuracies.items()))


def test_cross_dataset_averages_the_targets_and_not_the_source():
    records = [transfer_record(seed=seed, source=90.0, a=40.0, b=b) for seed, b in ((1, 60.0), (2, 80.0))]
    (table,) = tables(records)
    assert table.title.startswith("Cross-data-set from source")
    assert cells_of(table, "source", "coop")[3] == "90.00 ± 0.00"
    assert cells_of(table, "average of 2", "coop")[3:5] == ("55.00 ± 5.00", "40")


def test_domains_are_columns_with_their_mean():
    records = [
        transfer_record(dataset=dataset, protocol="domain_generalization", sketch=sketch, photo=50.0)
        for dataset, sketch in (("a", 10.0), ("b", 30.0))
    ]
    table = tables(records)[0]
    assert table.headers[3:] == ("sketch", "photo", "mean of 2")
    assert cells_of(table, "a", "coop")[3:] == ("10.00", "50.00", "30.00")
    assert cells_of(table, "average of 2", "coop")[3:] == ("20.00", "50.00", "35.00")
    assert "test images in all: sketch 40, photo 40" in table.notes


def test_the_mean_over_domains_leaves_out_what_was_learnt():
    table = tables([transfer_record("imagenet", protocol="domain_generalization", imagenet=90.0, v2=60.0, r=40.0)])[0]
    assert cells_of(table, "imagenet", "coop")[3:] == ("90.00", "60.00", "40.00", "50.00")


def test_what_was_left_out_is_told_under_the_first_table():
    made = tables([make_record()], more_notes=["tip_adapter is left out: it is bound to its classes"])
    assert made[0].notes[-1] == "tip_adapter is left out: it is bound to its classes"


def two_methods():
    return [make_record(method="coop", base=60.0, new=40.0), make_record(method="kgcoop", base=50.0, new=70.0)]


def test_the_best_of_a_data_set_is_bold_in_every_form():
    table = table_by_tests(BASE_TO_NOVEL, two_methods(), ["a"])
    assert "| a | coop | 16 | **60.00** | 40.00 | 48.00 |" in table.markdown()
    assert "| a | kgcoop | 16 | 50.00 | **70.00** | **58.33** |" in table.markdown()
    assert r"a & coop & 16 & \textbf{60.00} & 40.00 & 48.00 &" in table.latex()


def test_equal_numbers_are_all_best_and_one_alone_is_none():
    ties = [make_record(method="coop", base=60.0), make_record(method="kgcoop", base=60.0)]
    assert (
        table_by_tests(BASE_TO_NOVEL, ties, ["a"]).markdown().count("**60.00**") == 4
    )  # on the data set and on average
    assert "**" not in table_by_tests(BASE_TO_NOVEL, ties[:1], ["a"]).markdown()


def test_latex_escapes_what_it_would_read():
    text = table_by_tests(
        BASE_TO_NOVEL, [make_record(dataset="a_b", seed=seed) for seed in (1, 2)], ["a_b", "c"]
    ).latex()
    assert r"a\_b & coop & 16 & 50.00 $\pm$ 0.00 &" in text
    assert "c & coop & -- &" in text


def test_what_a_full_table_would_have_is_noted():
    records = [make_record(dataset="a", seed=1), make_record(dataset="a", seed=2), make_record(dataset="b", seed=1)]
    assert table_by_tests(BASE_TO_NOVEL, records, ["a", "b", "c"]).notes[0] == "missing: coop on b, seed 2; coop on c"


def test_the_papers_have_a_column_per_target_and_their_average_last():
    record = make_record(protocol="cross_dataset", tests={"a": 90.0, "b": 50.0, "c": 40.0})
    table = wide_table_from_source(CROSS_DATASET, [record], "a")
    assert table.headers == ("method", "shots", "a (source)", "b", "c", "average of 2")
    assert table.rows == (("coop", "16", "90.00", "50.00", "40.00", "45.00"),)


def test_a_terminal_folds_names_and_never_numbers():
    records = [
        make_record("emoji_activities", "clip_adapter_xl", seed=seed, base=75.0 + 5 * seed) for seed in (1, 2, 3)
    ]
    console = Console(width=72, record=True, file=io.StringIO())
    console.print(table_by_tests(BASE_TO_NOVEL, records, ["emoji_activities"]).rich())
    printed = console.export_text()
    assert "85.00±4.08" in printed
    assert "50.00±0.00" in printed
    assert max(map(len, printed.splitlines())) <= 72


def test_a_note_on_seconds_stands_only_below_a_table_that_has_them():
    records = [transfer_record(source=90.0, a=40.0, b=50.0)]
    texts = [tables(records, layout=layout)[0].markdown() for layout in ("terminal", "paper")]
    assert ["s/run is the mean" in text for text in texts] == [True, False]


def printed(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table.rich(width))
    return console.file.getvalue()


def records_of(protocol):
    """Three methods, three seeds, and the shots, tests and longest names that the papers' tables of a protocol have."""
    layout = get_protocol(protocol)
    targets = ["imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
    tests = list(layout.tests) or targets
    return [
        make_record(dataset, method, seed, shots, protocol=protocol, total=500, tests=scores)
        for method in ("zero_shot", "coop", "clip_adapter_with_more")
        for dataset in (targets[:1] if layout.targets != "none" else ["imagenet", "emoji_activities"])
        for shots in ((0,) if method == "zero_shot" else (1, 2, 4, 8, 16) if layout.layout == "shots" else (16,))
        for seed in ((0,) if method == "zero_shot" else (1, 2, 3))
        for scores in [{test: 31.0 + 7 * seed + place for place, test in enumerate(tests)}]
    ]


@pytest.mark.parametrize("width", [80, 72, 60])
@pytest.mark.parametrize("protocol", list_protocols())
def test_every_protocols_tables_can_be_read_in_a_narrow_terminal(protocol, width):
    for table in tables(records_of(protocol)):
        text = printed(table, width)
        assert max(map(len, text.splitlines())) <= width
        words = set(text.split())
        for row in table.rows:
            numbers = [cell.replace(" ± ", "±").replace(" + ", "+") for cell in row[2:]]
            assert set(numbers) <= words
        assert all(re.split("[ _]", header)[0] in text for header in table.headers)


def test_a_table_that_fits_is_not_parted():
    (table, *_) = tables(records_of("base_to_novel"))
    assert "further columns" not in printed(table, 80)
    assert "further columns" in printed(table, 60)


def with_balanced(record, test, value):
    scores = [
        dataclasses.replace(score, metrics=score.metrics | ({"balanced_accuracy": value} if score.name == test else {}))
        for score in record.scores
    ]
    return dataclasses.replace(record, scores=tuple(scores))


def test_balanced_accuracy_stands_beside_accuracy_where_classes_are_uneven():
    even, uneven = make_record(dataset="a"), make_record(dataset="b", base=90.0, new=40.0)
    assert not [table for table in tables([even]) if "Balanced" in table.title]
    (balanced,) = [table for table in tables([even, with_balanced(uneven, "base", 70.0)]) if "Balanced" in table.title]
    assert balanced.rows[0][2:] == ("70.00", "40.00")
    assert "different numbers of test images: b" in balanced.notes[0]


def test_a_row_says_what_was_seen_of_test_images_and_how_constants_were_chosen():
    record = make_record()
    seen = dataclasses.replace(
        record, test_time={"sees": "online"}, identity=record.identity | {"selection": "published"}
    )
    assert list(by_label([seen])) == ["coop (online, published)"]
    free = dataclasses.replace(record, identity=record.identity | {"selection": "validation_free"})
    assert list(by_label([free])) == ["coop (validation-free)"]
