"""The index of pooled records: links within a threshold, and clusters."""

import pytest
import torch

from adaptkit.heads.multimodal_linking import PooledIndex, pooled, records_of, single_linkage


def index_of(vectors: torch.Tensor, names: list[str] | None = None) -> PooledIndex:
    index = PooledIndex(pooled)
    index.add(records_of(vectors, None), names)
    return index


def test_links_are_the_nearest_within_the_threshold():
    index = index_of(torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1]]), ["a", "b", "c"])
    (links,) = index.link(records_of(torch.tensor([[1.0, 0]]), None), k=3, threshold=0.4)
    assert [link.name for link in links] == ["a", "b"]  # b is at exactly 0.4
    assert links[1].distance == pytest.approx(0.4)
    assert index.link(records_of(torch.tensor([[-1.0, 0]]), None), k=3, threshold=0.5) == [[]]


def test_an_unrelated_record_changes_no_link_of_others():
    vectors = torch.randn(20, 8)
    index, queries = index_of(vectors), records_of(vectors + 0.1 * torch.randn(20, 8), None)
    before = index.link(queries, k=1, threshold=0.2)
    clusters = index.cluster(0.2)
    index.add(records_of(-vectors.mean(dim=0, keepdim=True) * 100, None), ["stranger"])
    assert index.link(queries, k=1, threshold=0.2) == before
    assert index.cluster(0.0)[:20].tolist() == list(range(20))
    assert len(index.cluster(0.2)) == len(clusters) + 1


def test_a_record_between_two_joins_them_by_single_linkage_alone():
    a, b = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    index = index_of(torch.cat([a, b]))
    assert index.cluster(0.3).tolist() == [0, 1]
    index.add(records_of(a + b, None))
    assert index.cluster(0.3).tolist() == [0, 0, 0]
    assert index.link(records_of(a, None), k=3, threshold=0.3)[0][-1].name == "2"


def test_clusters_are_those_of_the_vectors():
    vectors = torch.randn(15, 4)
    assert torch.equal(index_of(vectors).cluster(0.3), single_linkage(vectors, 0.3))


def test_images_alone_find_records_with_both():
    image, text = torch.eye(4), torch.eye(4)
    index = PooledIndex(pooled)
    index.add(records_of(image, text), list("abcd"))
    assert [links[0].name for links in index.link(records_of(image, None))] == list("abcd")
    assert [links[0].name for links in index.link(records_of(None, text))] == list("abcd")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the index is empty"):
        PooledIndex(pooled).cluster(0.5)
    index = index_of(torch.eye(2))
    with pytest.raises(ValueError, match="1 names for 2 records"):
        index.add(records_of(torch.eye(2), None), ["a"])
    with pytest.raises(ValueError, match=r"the index \(2,\)"):
        index.add(records_of(torch.eye(3), None))
    with pytest.raises(ValueError, match="k=0"):
        index.link(records_of(torch.eye(2), None), k=0)
