"""TCP: where the classes' own tokens enter, what they are made of, and what is learnt around them."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import ClassSet, create_method
from adaptkit.prompts import ClassPromptNet
from adaptkit.towers.prompt_encoder import FullEncoder

ALIKE = ["golden retriever", "golden lake", "golden", "cat"]  # names that begin alike share tokens of a tree


def test_without_the_classes_tokens_it_is_kgcoop(tiny_clip, classes, batch):
    features, labels = tiny_clip.encode_image(batch[0]), batch[1]
    method = create_method("tcp", tiny_clip, classes, ctx_init="a photo of a")
    kgcoop = create_method("kgcoop", tiny_clip, classes, ctx_init="a photo of a")
    weights = F.normalize(method.context(), dim=-1)
    torch.testing.assert_close(weights, kgcoop.class_weights())
    loss = F.cross_entropy(tiny_clip.logits(features, weights), labels) + 8 * method.knowledge_gap(weights)
    torch.testing.assert_close(loss, kgcoop.loss(features, labels))


def test_the_loss_is_cross_entropy_and_eight_times_the_gap(tiny_clip, classes, batch):
    features, labels = tiny_clip.encode_image(batch[0]), batch[1]
    method = create_method("tcp", tiny_clip, classes)
    gap = 1 - (method.class_weights() * method.clip_weights).sum(dim=-1).mean()
    torch.testing.assert_close(
        method.loss(features, labels), F.cross_entropy(method.logits(features), labels) + 8 * gap
    )
    torch.testing.assert_close(method.regularizer(features, labels), 8 * gap)


def test_what_the_last_block_before_makes_of_the_context_is_thrown_away(tiny_clip, classes):
    method = create_method("tcp", tiny_clip, classes, insert_block=1)
    encoder = FullEncoder(tiny_clip.text_tower, method.context.encoder.prompts)
    by_slot = {1: method.class_prompts(method.clip_weights).flatten(0, 1)}
    ctx = method.context.ctx.repeat(len(classes), 1)[None]

    def disturb(module, args, output):
        output = output.clone()
        output[:, 1:5] += 10
        return output

    with torch.no_grad():
        expected = encoder(ctx, by_slot=by_slot)
        torch.testing.assert_close(F.normalize(expected[0], dim=-1), method.class_weights())
        handle = tiny_clip.text_tower.blocks[0].register_forward_hook(disturb)
        try:
            assert torch.equal(encoder(ctx, by_slot=by_slot), expected)
            assert not torch.allclose(encoder(ctx), method.context()[None])
        finally:
            handle.remove()


def test_the_context_acts_through_the_tokens_behind_it(tiny_clip, classes, batch):
    method = create_method("tcp", tiny_clip, classes, insert_block=1)
    method.backward(tiny_clip.encode_image(batch[0]), batch[1])
    assert {name for name, tensor in method.learnt_parameters().items() if tensor.grad.abs().sum() > 0} == {
        "context.ctx",
        *(f"meta_net.linear{number}.{part}" for number in (1, 2) for part in ("weight", "bias")),
    }


def test_a_class_does_not_depend_on_the_others(tiny_clip):
    method = create_method("tcp", tiny_clip, ALIKE)
    together = method.class_weights()
    for label, name in enumerate(ALIKE):
        method.set_classes([name])
        torch.testing.assert_close(method.class_weights()[0], together[label])
    torch.testing.assert_close(F.normalize(method.encode_text(ALIKE), dim=-1), together)


def test_other_classes_get_tokens_of_their_own_features(tiny_clip, classes):
    method = create_method("tcp", tiny_clip, classes)
    fresh = create_method("tcp", tiny_clip, ALIKE)
    fresh.load_learnt_state(method.learnt_state())  # nothing in it belongs to a class
    method.set_classes(ALIKE)
    torch.testing.assert_close(method.clip_weights, fresh.clip_weights)
    torch.testing.assert_close(method.class_weights(), fresh.class_weights())


def test_the_network_is_linear_quickgelu_linear():
    net = ClassPromptNet(dim=6, hidden=3, n_ctx=2, text_width=5)
    x = torch.randn(4, 6)
    hidden = net.linear1(x)
    expected = net.linear2(hidden * torch.sigmoid(1.702 * hidden)).reshape(4, 2, 5)
    torch.testing.assert_close(net(x), expected)


def test_a_shallower_tower_reads_them_in_its_last_block(tiny_clip, classes):
    deep = create_method("tcp", tiny_clip, classes)
    last = create_method("tcp", tiny_clip, classes, insert_block=tiny_clip.text_depth - 1)
    last.load_learnt_state(deep.learnt_state())
    torch.testing.assert_close(deep.class_weights(), last.class_weights())


def test_the_data_set_s_template_gives_what_follows_the_name(tiny_clip, classes):
    method = create_method("tcp", tiny_clip, classes, templates=["a photo of a {}, a type of pet."])
    written = create_method("tcp", tiny_clip, classes, template="X X X X {}, a type of pet.")
    assert torch.equal(method.context.encoder.prompts.ids, written.context.encoder.prompts.ids)
    method.set_classes(ClassSet(tuple(classes), ("{} texture.",)))
    written = create_method("tcp", tiny_clip, classes, template="X X X X {} texture.")
    assert torch.equal(method.context.encoder.prompts.ids, written.context.encoder.prompts.ids)


def test_words_behind_the_first_tokens_of_the_template_stay(tiny_clip, classes):
    method = create_method("tcp", tiny_clip, classes, template="a photo of a person doing {}.")
    words = create_method("coop", tiny_clip, [f"person doing {name}" for name in classes], n_ctx=4)
    fixed = words.context.encoder.prompts.slots < 0
    ours, theirs = method.context.encoder.prompts.ids, words.context.encoder.prompts.ids
    assert torch.equal(ours[fixed], theirs[fixed])


def test_own_templates_come_before_the_data_set_s(tiny_clip, classes):
    own = create_method("tcp", tiny_clip, classes, templates=["{} texture."], clip_templates=("a {}.",))
    plain = create_method("tcp", tiny_clip, classes, templates=["a {}."])
    torch.testing.assert_close(own.clip_weights, plain.clip_weights)


def test_a_refused_name_leaves_everything_as_it_was(tiny_clip, classes):
    method = create_method("tcp", tiny_clip, classes)
    before = method.class_weights()
    with pytest.raises(ValueError, match=r"tokens with ' texture\.'"):
        method.set_classes(ClassSet(("cat " * 90,), ("{} texture.",)))
    torch.testing.assert_close(method.class_weights(), before)
    assert method.context.tail == "."


def test_templates_without_room_for_the_learnt_tokens_are_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match=r"'a \{\}.' of tcp has 1 tokens .* n_ctx=4 .*'X X X X \{\}.'"):
        create_method("tcp", tiny_clip, classes, template="a {}.")
    with pytest.raises(ValueError, match="exactly one"):
        create_method("tcp", tiny_clip, classes, template="a photo of a")
