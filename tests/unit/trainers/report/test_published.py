"""The published numbers are whole, sourced and named as our registries name things."""

import pytest

from adaptkit import list_methods
from datasets_fewshot import list_datasets
from datasets_fewshot.papers.suite import PAPER_DATASETS
from trainers.config.files import packaged_names
from trainers.config.load import load_bench
from trainers.config.settings import BackboneConfig
from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.registry import list_protocols
from trainers.report.paper_tables import PAPER_TABLES, paper_table
from trainers.report.publications import AVERAGE, published_places, published_rows

ROWS = [row for protocol in list_protocols() for row in published_rows(protocol)]


def test_every_row_is_of_a_method_and_of_places_that_exist():
    assert {row.method for row in ROWS} <= set(list_methods())
    known = {*PAPER_DATASETS, AVERAGE}
    assert {place for row in ROWS for place in (*row.values, *row.unverified)} <= known


def test_every_number_is_a_percentage_with_a_source():
    values = [value for row in ROWS for measures in row.values.values() for value in measures.values()]
    assert all(0 < value < 100 for value in values)
    assert all(row.source for row in ROWS)
    assert len(values) > 1000


def test_a_row_of_a_recipe_has_one():
    for row in ROWS:
        if row.recipe:
            assert f"{row.method}_{row.protocol}" in packaged_names("paper")


def test_h_is_the_harmonic_mean_of_what_is_printed_beside_it():
    for row in published_rows("base_to_novel"):
        for measures in row.values.values() if row.recipe else ():
            assert harmonic_mean(measures["base"], measures["new"]) == pytest.approx(measures["H"], abs=0.03)


def test_averages_are_of_the_cells_beside_them():
    for row in ROWS:
        places = [place for place in row.values if place != AVERAGE and (row.protocol, place) not in SOURCES]
        if row.recipe and AVERAGE in row.values and len(places) >= 4:
            for measure in row.values[AVERAGE]:
                if measure != "H":
                    mean = sum(row.values[place][measure] for place in places) / len(places)
                    assert row.values[AVERAGE][measure] == pytest.approx(mean, abs=0.06), (row.method, row.protocol)


SOURCES = {("cross_dataset", "imagenet"), ("domain_generalization", "imagenet")}


def test_the_papers_have_eleven_data_sets():
    assert set(published_places("base_to_novel")) == set(published_places("few_shot")) == set(list_datasets("paper"))


@pytest.mark.parametrize("table", PAPER_TABLES, ids=lambda table: table.name)
def test_a_table_has_recipes_for_its_methods_and_published_numbers(table):
    assert {f"{method}_{table.protocol}" for method in table.methods} <= set(packaged_names("paper"))
    assert table.published()
    assert "published numbers" in table.describe()


@pytest.mark.parametrize("table", PAPER_TABLES, ids=lambda table: table.name)
def test_a_table_s_settings_are_the_recipe_s_on_the_published_backbone(table):
    config = load_bench(None, settings=table.settings())
    assert config.backbone == BackboneConfig(table.published()[0].backbone, "openai")
    assert config.settings.suite == "paper"
    own = [run for run in config.runs if run.method == table.method]
    assert {row.shots for row in table.published()} <= {run.shots for run in own}
    assert {departure for run in own for departure in run.departures} == set()


def test_an_unknown_table_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no published table 'maple.base_to_new'; did you mean maple.base_to_novel"):
        paper_table("maple.base_to_new")
