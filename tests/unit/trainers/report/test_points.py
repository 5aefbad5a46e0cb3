import dataclasses

from tests.helpers.records import make_record
from trainers.evaluation.scoring import ConfidenceBin
from trainers.report.points import figure_groups, points, pooled_bins


def numbers(group, measure):
    return {(p.label, p.shots, p.place): round(p.mean, 2) for p in points(group) if p.measure == measure}


def test_base_to_novel_has_every_data_set_and_the_average():
    records = [make_record(dataset="a", base=60.0), make_record(dataset="b", base=80.0)]
    assert numbers(records, "base") == {
        ("coop", None, "average"): 70.0, ("coop", None, "a"): 60.0, ("coop", None, "b"): 80.0,
    }  # fmt: skip


def test_an_average_that_lacks_a_data_set_is_no_point():
    records = [make_record(dataset="a"), make_record(dataset="b"), make_record(dataset="a", method="kgcoop")]
    assert ("kgcoop", None, "average") not in numbers(records, "base")


def test_few_shot_has_a_point_for_every_number_of_shots():
    records = [make_record(protocol="few_shot", shots=shots, base=50.0 + shots, total=100) for shots in (1, 4)]
    assert numbers(records, "all")["coop", 4, "average"] == 54.0


def test_transfer_has_a_point_per_test_and_averages_the_targets():
    record = make_record(protocol="cross_dataset", tests={"a": 90.0, "b": 50.0, "c": 40.0}, total=100)
    by_place = {place: mean for (_, _, place), mean in numbers([record], "accuracy").items()}
    assert by_place == {"average": 45.0, "a": 90.0, "b": 50.0, "c": 40.0}


def test_sources_of_transfer_do_not_share_figures():
    records = [make_record(protocol="cross_dataset", dataset=name, tests={"c": 50.0}) for name in ("a", "b")]
    assert len(figure_groups(records)) == 2


def test_bins_are_thrown_together_image_by_image():
    (pooled,) = pooled_bins([[ConfidenceBin(3, 1, 90.0)], [ConfidenceBin(1, 1, 50.0)]])
    assert pooled == ConfidenceBin(4, 2, 80.0)
    assert pooled_bins([[ConfidenceBin(3, 1, 90.0)], []]) == ()


def test_old_records_have_points_without_bins():
    record = make_record()
    scores = tuple(dataclasses.replace(score, bins=()) for score in record.scores)
    assert {point.bins for point in points([dataclasses.replace(record, scores=scores)])} == {()}
