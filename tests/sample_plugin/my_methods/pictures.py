"""Pictures: a data set of coloured squares, drawn when it is loaded, in a suite of its own."""

from pathlib import Path

from PIL import Image

from datasets_fewshot import FewShotDataset, Item, Split, register_dataset

COLOURS = ("red", "green", "blue", "black")


def load(root: Path | None) -> FewShotDataset:
    """The data set; `root` is the folder that the squares are drawn into."""
    assert root is not None
    items = []
    for label, colour in enumerate(COLOURS):
        for number in range(6):
            path = Path(f"{colour}_{number}.png")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32 + number, 32), colour).save(root / path)
            items.append(Item(str(path), label, colour))
    parts = ([item for item in items if item.path[-5] in names] for names in ("012", "3", "45"))
    return FewShotDataset("pictures", root, Split(*(tuple(part) for part in parts)))


register_dataset("pictures", "pictures", load)
