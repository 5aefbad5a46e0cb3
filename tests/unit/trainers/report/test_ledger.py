import pytest

from datasets_fewshot.paper_format.built_split import FALLBACK_NOTE
from tests.helpers.records import make_record
from trainers.report.cells import ledger_csv
from trainers.report.ledger import ledger, ledger_tables, seed_noise
from trainers.report.publications import published_rows


def maple(seed=1, base=80.36, new=59.18, **changes):
    """A run as the paper has it, but for what is given."""
    facts = {"suite": "paper", "backbone": "ViT-B-16", "pretrained": "openai", "recipe": "paper", "dataset": "dtd"}
    return make_record(method="maple", seed=seed, base=base, new=new, total=10000, **{**facts, **changes})


def row_of(records, place="dtd", measure="base"):
    (row,) = [row for row in ledger(records) if (row.place, row.measure) == (place, measure)]
    return row


def three_seeds(shift=0.0, **changes):
    return [maple(seed, 80.36 + shift + spread, **changes) for seed, spread in ((1, -1.0), (2, 0.0), (3, 1.0))]


def test_a_number_within_the_spread_of_seeds_is_reproduced():
    row = row_of(three_seeds(shift=0.5))
    assert (row.published, row.difference, row.std) == (80.36, pytest.approx(0.5), pytest.approx(1.0))
    assert (row.verdict, row.why) == ("within seed noise", ())


def test_a_number_farther_away_is_not():
    assert row_of(three_seeds(shift=-8.0)).verdict == "outside seed noise"


def test_seed_noise_is_the_interval_of_a_difference_of_means():
    assert seed_noise(1.0, 3, 3) == pytest.approx(4.303 * (2 / 3) ** 0.5)


def test_seeds_that_agree_leave_room_for_what_the_paper_rounded_away():
    assert row_of([maple(seed, 80.36) for seed in (1, 2, 3)]).verdict == "within seed noise"
    (row,) = [
        row for row in published_rows("few_shot") if (row.method, row.shots, row.recipe) == ("clip_lora", 4, True)
    ]
    assert row.rounding == 0.05


def test_h_is_of_the_means():
    row = row_of(three_seeds(), measure="H")
    assert row.ours == pytest.approx(2 * 80.36 * 59.18 / (80.36 + 59.18))


def test_published_numbers_that_were_not_run_are_visible():
    row = row_of(three_seeds(), place="eurosat")
    assert (row.ours, row.difference, row.verdict) == (None, None, "not run")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": "adaptkit-mini"}, "other backbone (adaptkit-mini; published ViT-B-16)"),
        ({"pretrained": "laion2b"}, "weights from laion2b, not OpenAI's"),
        ({"shots": 4}, "other shots (4; published 16)"),
        ({"recipe": ""}, "other recipe (not run with --recipe paper)"),
        ({"notes": ("OPTIM.EPOCHS is 1 (recipe: 5)",)}, "other recipe (OPTIM.EPOCHS is 1 (recipe: 5))"),
        ({"notes": (FALLBACK_NOTE,)}, FALLBACK_NOTE),
    ],
)
def test_what_differs_in_more_than_the_seed_is_not_judged(changes, reason):
    row = row_of(three_seeds(**changes))
    assert (row.verdict, row.why) == ("not comparable", (reason,))


def test_one_seed_tells_no_noise():
    assert row_of([maple()]).why == ("one seed tells no noise",)


def test_missing_seeds_are_named():
    assert row_of(three_seeds()[:2]).why == ("seeds 3 are missing",)


def test_an_average_lacks_the_data_sets_that_were_not_run():
    row = row_of(three_seeds(), place="average")
    assert row.verdict == "not comparable"
    assert row.why[0].startswith("the average lacks imagenet, caltech101")


def test_another_suite_stands_beside_the_published_average_only():
    rows = ledger(three_seeds(suite="mini", dataset="a"))
    assert {row.place for row in rows} == {"average"}
    assert {row.why[0] for row in rows} == {"other suite (mini)"}


def test_a_method_without_training_needs_no_seeds():
    record = make_record(method="zero_shot", suite="paper", backbone="ViT-B-16", pretrained="openai", dataset="dtd",
                         shots=0, seed=0, base=53.24, total=10000)  # fmt: skip
    assert row_of([record]).verdict == "within seed noise"
    worse = make_record(method="zero_shot", suite="paper", backbone="ViT-B/16", pretrained="openai", dataset="dtd",
                        shots=0, seed=0, base=52.24, total=10000)  # fmt: skip
    assert row_of([worse]).verdict == "outside seed noise"


def test_transfer_is_held_against_the_test_it_is_of():
    record = make_record(protocol="cross_dataset", method="maple", suite="paper", backbone="ViT-B-16",
                         pretrained="openai", recipe="paper", dataset="imagenet",
                         tests={"imagenet": 70.0, "dtd": 46.0, "eurosat": 48.0}, total=100)  # fmt: skip
    assert row_of([record], "dtd", "accuracy").published == 46.49
    assert row_of([record], "average", "accuracy").ours == 47.0


def test_a_recalled_number_is_marked_in_the_table_and_in_the_file():
    record = make_record(protocol="few_shot", method="coop", suite="paper", backbone="RN50", dataset="dtd", shots=1)
    rows = ledger([record])
    assert not row_of([record], "dtd", "all").verified
    (table,) = ledger_tables(rows)
    line = next(row for row in table.rows if row[1] == "dtd")
    assert line[4] == "44.39 † [1]"
    assert any(note.startswith("† recalled") for note in table.notes)
    assert ledger_csv(rows).splitlines()[0].startswith("protocol,suite,backbone,method,shots,place,measure,published")


def test_wrapped_methods_are_not_held_against_the_papers():
    record = maple()
    record.identity["wrap"] = [["das", {}]]
    assert ledger([record]) == []
