"""Read Karpathy's splits of COCO and Flickr30k: dataset_coco.json, dataset_flickr30k.json, images beside them.

Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", arXiv:1412.2306. COCO's
part "restval", the rest of its validation images, counts as training, as in the field's code.
"""

from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.own.table_paths import check_path
from datasets_fewshot.pairs.listed import Source
from datasets_fewshot.pairs.placing import Written, part_named, placed
from datasets_fewshot.splits.validation import SplitError

WHAT = "list of images with captions"
FORM = '{"images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}, ...]}, ...]}'
REST_OF_VAL = "restval"
PATTERN = "dataset_*.json"  # as Karpathy calls the files


def read_karpathy(path: Path) -> Source:
    """Read all images; "filepath" is the folder of an image, where the file names one.

    Raises:
        SplitError: if the file has another form, a path climbs out of its folder, or none of the images is there.
        FileError: if it is no JSON.
    """
    content = read_json(path, WHAT)
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        raise SplitError(
            f"{path} is COCO's own list of annotations; give Karpathy's dataset_coco.json, or write a table"
        )
    if not isinstance(images, list) or not images:
        raise SplitError(f"{path} lists no images; expected Karpathy's form, {FORM}")
    return placed(path, path.stem, path.parent, [_written(image, f"image {n}") for n, image in enumerate(images)], ())


def _written(image: object, where: str) -> Written:
    if not isinstance(image, dict):
        raise SplitError(f"{where} is {str(image)[:80]!r}; expected Karpathy's form, {FORM}")
    folder, name, part = image.get("filepath", ""), image.get("filename"), image.get("split", "")
    sentences = image.get("sentences")
    if not isinstance(folder, str) or not isinstance(name, str) or not isinstance(part, str) or not name:
        raise SplitError(f"{where} has the file name {str(name)[:80]!r}; expected Karpathy's form, {FORM}")
    if not isinstance(sentences, list) or not all(isinstance(sentence, dict) for sentence in sentences):
        raise SplitError(f"{where}, {name!r}, has the sentences {str(sentences)[:80]!r}; expected {FORM}")
    captions = [sentence.get("raw", "") for sentence in sentences]
    if not all(isinstance(caption, str) for caption in captions):
        raise SplitError(f"{where}, {name!r}, has a sentence whose raw text is none; expected {FORM}")
    written = f"{folder}/{name}" if folder else name
    check_path(written, where)
    known = "train" if part == REST_OF_VAL else part
    return Written(written, tuple(captions), "", part_named(known, where), where)
