"""What the report's page says first, and what it says below."""

from tests.helpers.records import make_record
from trainers.report.page import averages_first, page_data
from trainers.tables.layouts import AVERAGE
from trainers.tables.tables import tables


def records():
    return [
        make_record(dataset=dataset, method=method, seed=seed, shots=shots, base=base + seed, new=base)
        for dataset, base in (("cats", 60.0), ("dogs", 80.0))
        for method, shots, seeds in (("zero_shot", 0, (0,)), ("coop", 4, (1, 2)))
        for seed in seeds
    ]


def test_averages_are_parted_from_the_rows_of_single_data_sets():
    made = tables(records(), layout="paper")
    overall, by_dataset = averages_first(made)
    assert [table.title for table in overall] == [table.title for table in made]
    assert {row[0] for row in overall[0].rows} == {f"{AVERAGE} of 2"}
    assert [row[:2] for row in by_dataset[0].rows] == [
        ("cats", "zero_shot"), ("cats", "coop"), ("dogs", "zero_shot"), ("dogs", "coop"),
    ]  # fmt: skip
    assert overall[0].notes == made[0].notes
    assert by_dataset[0].sections == (2,)


def test_the_best_of_a_column_stays_the_best_when_a_table_is_parted():
    made = tables(records(), layout="paper")[0]
    overall, by_dataset = averages_first([made])
    marked = [made.rows[row][column] for row, column in made.best]
    parted = [table.rows[row][column] for table in (*by_dataset, *overall) for row, column in table.best]
    assert sorted(marked) == sorted(parted)


def test_a_table_without_averages_is_an_overview_already():
    differences = tables(records(), layout="paper")[1]
    assert averages_first([differences]) == ([differences], [])


def test_every_row_of_the_page_opens_its_runs():
    group = page_data(records())["groups"][0]
    assert [len(runs) for runs in group["tables"][0]["runs"]] == [2, 4]
    assert [len(runs) for runs in group["dataset_tables"][0]["runs"]] == [1, 2, 1, 2]
