# %% [markdown]
# # Comparing methods on the embedded suite
#
# What `adaptkit bench` does, in a few calls: lay out runs, compute those that are missing, make the tables.

# %%
from pathlib import Path

from trainers.bench.main import bench
from trainers.config.load import load_bench

config = load_bench(
    overrides=[
        *("METHODS", "[zero_shot, clip_adapter]"),
        *("DATASETS", "[emoji_food]"),
        *("SEEDS", "[1, 2]"),
        *("OPTIM.EPOCHS", "20"),
    ]
)
print(len(config.runs), "runs")

# %% [markdown]
# The tables are printed, and written beside the records. A second call reuses every finished run.

# %%
records = bench(config, Path("runs"), Path("cache"))

# %% [markdown]
# A record knows which images were right, so two methods can be compared image by image.

# %%
zero_shot = next(record for record in records if record.method == "zero_shot")
adapted = next(record for record in records if record.method == "clip_adapter")
for half in ("base", "new"):
    before, after = zero_shot.score(half).right(), adapted.score(half).right()
    print(f"{half}: {(after & ~before).sum()} images gained, {(before & ~after).sum()} lost of {len(before)}")
