"""ImageNetV2, matched frequency (Recht et al., 2019): new test images of ImageNet's classes; folders are labels."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import labelled_items, read_classnames
from datasets_fewshot.images.folder_index import index_folders
from datasets_fewshot.paper_format.facts import imagenet_family_wnids
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError


def read_official(place: Place) -> Split:
    """Read the test images; folders "0" to "999" are labels and are taken in numeric order, not in string order."""
    wnids = imagenet_family_wnids("imagenetv2")
    index = index_folders(place.image_root)
    missing = [label for label in range(len(wnids)) if not index.get(str(label))]
    if missing:
        raise SplitError(
            f"{place.image_root}: {len(missing)} of {len(wnids)} label folders are missing or empty, the first "
            f"{missing[:NAMES_SHOWN]}; extract the archive again"
        )
    names = {str(label): index[str(label)] for label in range(len(wnids))}
    classnames = read_classnames(place)
    return Split((), (), labelled_items(names, [classnames[wnid] for wnid in wnids]))


FOLDER = "imagenetv2-matched-frequency-format-val"
FIRST_FOLDER = "imagenetv2-matched-frequency"  # its name in the first archives
DATASET = PaperDataset(
    name="imagenetv2",
    title="ImageNetV2",
    layouts=(
        Layout("coop", "imagenetv2", FOLDER),
        Layout("mirror", "ImageNetV2", FOLDER),
        Layout("mirror", "imagenetv2", FIRST_FOLDER),
        Layout("mirror", "ImageNetV2", FIRST_FOLDER),
        Layout("mirror", FOLDER),
        Layout("mirror", FIRST_FOLDER),
    ),
    source="https://github.com/modestyachts/ImageNetV2 (imagenetv2-matched-frequency.tar.gz)",
    official=read_official,
    is_listed=True,
)
