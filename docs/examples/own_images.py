# %% [markdown]
# # Your own images, from folder to prediction
#
# This script makes a folder of images out of an embedded data set, and then treats it as yours: it trains, looks at
# what goes wrong, saves, loads and predicts.

# %%
from pathlib import Path

import adaptkit
from datasets_fewshot import load_dataset

source = load_dataset("icons")
for label in range(4):
    items = [item for part in source.split for item in part if item.label == label][:12]
    for number, item in enumerate(items):
        place = Path("photos") / item.classname / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        source.load(item).save(place)
print(sorted(folder.name for folder in Path("photos").iterdir()))

# %% [markdown]
# One call: check, split, train, test beside zero-shot, save. `zero_shot_accuracy` says whether it was worth it.

# %%
result = adaptkit.fit("clip_adapter", "photos", out="my_adapter", on_message=print)
print(result.summary())

# %% [markdown]
# The images that it was surest to get wrong are drawn in `my_adapter/worst_images.png`. Often some of them carry the
# wrong label.

# %%
for path in result.worst_images:
    print(path)

# %% [markdown]
# Later, elsewhere: load and predict. Other class names need no new training.

# %%
method = adaptkit.load("my_adapter")
images = sorted(Path("photos").rglob("0.png"))
for path, prediction in zip(images, method.predict(images), strict=True):
    print(f"{path}: {prediction.label} {prediction.probability:.0%}")
method.set_classes(["something that stores energy", "something that rings"])
print([prediction.label for prediction in method.predict(images[:2])])
