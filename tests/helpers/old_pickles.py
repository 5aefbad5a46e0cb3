"""Make pickles as CoOp's code wrote them, without its modules."""

import pickle
import sys
import types

MODULE = "dassl.data.datasets.base_dataset"


class Datum:
    """An image record that pickles like Dassl's."""

    def __init__(self, path: object, label: object = 0, classname: object = "banded"):
        self._impath, self._label, self._domain, self._classname = path, label, 0, classname


# The module exists only while pickling; while importing there is none, as on most machines.
Datum.__module__ = MODULE


def pickled(content: object, protocol: int = 4) -> bytes:
    modules = {}
    parts = MODULE.split(".")
    for end in range(1, len(parts) + 1):
        modules[".".join(parts[:end])] = types.ModuleType(".".join(parts[:end]))
    modules[MODULE].Datum = Datum  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        return pickle.dumps(content, protocol)
    finally:
        for name in modules:
            del sys.modules[name]
