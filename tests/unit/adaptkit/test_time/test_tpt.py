import pytest
import torch

from adaptkit import create_method, wrapper_config
from adaptkit.test_time.entropy import entropies, entropy_of_mean, kept_views
from tests.conftest import CLASSES


@pytest.fixture
def views(tiny_clip):
    """Features of three images in ten views each, (3, 10, D)."""
    return torch.randn(3, 10, tiny_clip.embed_dim, generator=torch.Generator().manual_seed(0))


def tpt(backbone, method="coop", **options):
    torch.manual_seed(0)
    return create_method(method, backbone, CLASSES, wrap=[("tpt", wrapper_config("tpt")(**options))]).eval()


def test_without_a_rate_it_is_the_method_inside(tiny_clip, views):
    method = tpt(tiny_clip, lr=0.0)
    with torch.no_grad():
        torch.testing.assert_close(method.logits(views), method.inner.logits(views[:, 0]))


def test_an_image_leaves_nothing_for_the_next_one(tiny_clip, views):
    method = tpt(tiny_clip, selection_p=0.3)
    before = method.learnt_state()
    with torch.no_grad():
        together, again = method.logits(views), method.logits(views[[2, 0, 1]])
        with method.encode_classes_once():
            once = method.logits(views)
    assert torch.equal(again, together[[2, 0, 1]])
    torch.testing.assert_close(once, together)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.learnt_state().items())


def test_one_view_lowers_its_own_entropy(tiny_clip, views):
    method = tpt(tiny_clip, lr=1e-3)
    with torch.no_grad():
        plain, tuned = method.inner.logits(views[:, 0]), method.logits(views[:, :1])
    assert (entropies(tuned) <= entropies(plain)).all()


def test_the_context_decays_even_where_the_views_pull_nowhere(tiny_clip):
    """AdamW takes lr * weight_decay of the context where its gradient is none, as in the released code."""
    method = tpt(tiny_clip)
    tensors, _ = method.at_start()
    still = torch.zeros(1, len(CLASSES), requires_grad=True) @ torch.zeros(len(CLASSES), tiny_clip.embed_dim)
    moved = method.tuned(torch.zeros(2, tiny_clip.embed_dim) + 0 * still.detach())
    for name, tensor in tensors.items():
        torch.testing.assert_close(moved[name], tensor.detach() * (1 - 5e-3 * 0.01), rtol=1e-6, atol=1e-7)


def test_the_views_are_chosen_once_before_the_first_step(tiny_clip, views, monkeypatch):
    chosen = []

    def watched(logits, share):
        chosen.append(kept_views(logits, share))
        return chosen[-1]

    monkeypatch.setattr("adaptkit.test_time.tpt.kept_views", watched)
    with torch.no_grad():
        tpt(tiny_clip, steps=3).logits(views[:1])
    assert len(chosen) == 1


def test_six_of_64_views_are_kept_and_one_of_a_few():
    assert len(kept_views(torch.randn(64, 5), 0.1)) == 6
    assert len(kept_views(torch.randn(3, 5), 0.1)) == 1


def test_the_entropy_is_of_the_mean_probability_and_not_the_mean_of_entropies():
    logits = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert float(entropy_of_mean(logits)) == pytest.approx(float(torch.tensor(2.0).log()), abs=1e-6)
    assert float(entropies(logits).max()) < 1e-6


def test_a_probability_that_underflows_leaves_a_number():
    logits = torch.tensor([[0.0, 200.0, -200.0]])
    assert entropies(logits).isfinite().all()
    assert entropy_of_mean(logits).isfinite()


@pytest.mark.parametrize("method", ["kgcoop", "taskres", "clip_lora", "maple"])
def test_it_stands_around_what_has_learnt_class_weights(method, tiny_clip):
    made = tpt(tiny_clip, method, lr=1e-3, n_views=4)
    images = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = made.consume(images)
        assert made.logits(x).shape == (2, len(CLASSES))
        assert not torch.equal(made.logits(x), made.inner.logits(x[:, 0]))


@pytest.mark.parametrize("method", ["zero_shot", "cocoop", "tip_adapter_f", "clip_adapter"])
def test_it_says_why_it_cannot_stand_around_others(method, tiny_clip):
    with pytest.raises(ValueError, match="tpt tunes what class weights are made of"):
        tpt(tiny_clip, method)


def test_by_its_name_alone_nothing_is_trained(tiny_clip):
    method = create_method("tpt", tiny_clip, CLASSES)
    assert not method.learnt_parameters()
    assert method.learnt_state() == {}
    assert method.sees == "episodic"
