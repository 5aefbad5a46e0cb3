"""FGVCAircraft (Maji et al., 2013): 100 variants; its own three lists are the papers' split."""

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import read_lines
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset
from datasets_fewshot.splits.validation import SplitError


def read_official(place: Place) -> Split:
    """Read the three lists of lines "0817494 707-320" (image number, variant); labels follow variants.txt."""
    label = {variant: index for index, variant in enumerate(read_lines(place.file("variants.txt")))}
    lists = []
    for part in ("train", "val", "test"):
        path = place.file(f"images_variant_{part}.txt")
        items = []
        for number, line in enumerate(read_lines(path), start=1):
            image, _, variant = line.partition(" ")
            if variant not in label:
                raise SplitError(f"{path}: line {number}: {variant!r} is not in variants.txt; get both files anew")
            items.append(Item(f"{image}.jpg", label[variant], variant))
        lists.append(tuple(items))
    return Split(*lists)


DATASET = PaperDataset(
    name="fgvc_aircraft",
    title="FGVCAircraft",
    layouts=(
        Layout("coop", "fgvc_aircraft", "images"),  # CLIP-LoRA has the same folder
        Layout("mirror", "FGVCAircraft", "images"),
        Layout("torchvision", "fgvc-aircraft-2013b/data", "images"),
    ),
    source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ (or: adaptkit data prepare fgvc_aircraft)",
    official=read_official,
)
