# %% [markdown]
# # Inside a method
#
# What CoOp learns, step by step: the words of a prompt become vectors, and these are trained.

# %%
import torch
import torch.nn.functional as F

import adaptkit
from datasets_fewshot import draw_few_shot, load_dataset

torch.manual_seed(0)
backbone = adaptkit.load_backbone("adaptkit-mini")
dataset = load_dataset("emoji_activities")
split = draw_few_shot(dataset.split, shots=4, seed=1)
print(len(dataset.classnames), "classes,", len(split.train), "training images")

# %% [markdown]
# Images are encoded once. The image tower never changes, so neither do the features.


# %%
def encoded(items):
    images = torch.stack([backbone.preprocess(dataset.load(item)) for item in items])
    with torch.no_grad():
        return backbone.encode_image(images), torch.tensor([item.label for item in items])


(x, labels), (test_x, test_labels) = encoded(split.train), encoded(split.test)
method = adaptkit.create_method("coop", backbone, dataset.classnames, n_ctx=4, ctx_init="a photo of a")
print({name: tuple(parameter.shape) for name, parameter in method.learnt_parameters().items()})

# %% [markdown]
# The context starts as the words "a photo of a", so before training CoOp is zero-shot CLIP.

# %%
zero_shot = adaptkit.create_method("zero_shot", backbone, dataset.classnames, templates=["a photo of a {}."])
with torch.no_grad():
    print("largest difference:", (method.logits(x) - zero_shot.logits(x)).abs().max().item())


# %%
def accuracy():
    with torch.no_grad():
        return (method.logits(test_x).argmax(dim=1) == test_labels).float().mean().item()


print(f"before: {accuracy():.1%}")
optimizer = torch.optim.SGD(method.learnt_parameters().values(), lr=0.05, momentum=0.9)
for step in range(20):
    optimizer.zero_grad()
    loss = F.cross_entropy(method.logits(x), labels)
    loss.backward()
    optimizer.step()
    if step % 5 == 4:
        print(f"step {step + 1}: loss {loss.item():.3f}")
print(f"after: {accuracy():.1%}")

# %% [markdown]
# The learnt vectors are still vectors among words. Which words are nearest to each of them?

# %%
(context,) = method.learnt_state().values()
table = backbone.text_tower.token_embedding.weight
nearest = torch.cdist(context, table).argmin(dim=1)
tokenizer = backbone.tokenizer.plain
print([tokenizer.decode([token]).strip() for token in nearest.tolist()])

# %% [markdown]
# And they describe images, not classes: new names need no new training.

# %%
method.set_classes(["violin", "basketball", "chess pawn"])
print(method.logits(test_x[:4]).softmax(dim=-1).shape)
