"""The options of PromptKD, and the adapter that they name as its teacher."""

from pathlib import Path

from adaptkit.artefacts.files import CONFIG_FILE
from adaptkit.options import option, options
from adaptkit.regular_file import user_path

KEPT = "(kept)"  # in place of a path: the teacher comes with the learnt tensors


def teacher_file(name: str) -> Path:
    """The file that says which adapter the option `teacher` names: its config, or the archive that holds it.

    Its config has the hashes of its tensors and of the weights that it was learnt on.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = user_path(name, "teacher")
    path = path / CONFIG_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"teacher={name!r}: there is no file {str(path)!r}; give the folder or the zip archive of a saved adapter, "
            "such as promptsrc on a larger backbone, or leave the option empty for the backbone's own zero-shot"
        )
    return path


@options
class PromptKDConfig:
    teacher: str = option(
        "",
        "The folder or zip archive of an adapter to imitate, on this backbone or a larger one; empty for the "
        "backbone's own zero-shot classifier. It travels with a saved adapter.",
        file=teacher_file,
        kept=KEPT,
    )
    n_ctx: int = option(4, "Learnt tokens per block of the image tower.", least=1)
    depth: int = option(9, "Blocks that get their own tokens, at most as many as the tower has.", least=1)
    weight: float = option(1000.0, "The weight w of the loss, which is divided by the number of classes, too.", least=0)
    temperature: float = option(1.0, "The temperature tau of teacher and student.", above=0)
