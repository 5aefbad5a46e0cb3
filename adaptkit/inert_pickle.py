"""Reading a pickle as data: nothing that it names is imported, called or changed.

A pickle is a program for a small stack machine, and Python's own reader lets it import names, call them and set
attributes of what it got. This reader walks the same operations and builds containers, numbers and texts. A name
becomes a `Name`; what would be an object becomes an `Inert`, which keeps the arguments and the state as they stand in
the file. Only functions that the caller lends are ever called.

What a file may cost is bounded: operations are counted, lengths are checked against the bytes that are there before
anything is made of them, the places of the memo are kept in a dictionary, and keys are hashed only where that is
cheap. Nothing here walks a nested structure, so none is too deep.
"""

import pickle
import pickletools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Protocol, cast

MAX_OPERATIONS = 10_000_000  # About 1 GB at the worst; the longest list of images in the papers takes two million.


class InertPickleError(ValueError):
    """The bytes are no pickle, or one that this reader does not read."""


@dataclass(frozen=True)
class Name:
    """A name that the file would have imported."""

    module: str
    name: str


@dataclass(eq=False)
class Inert:
    """What would have been an object: its class or function by name, and what stood beside it."""

    kind: object  # A `Name`, or what the file has in its place.
    args: object = ()
    state: object = None
    items: list[object] = field(default_factory=list)  # Things that were appended, or pairs that were set.

    def __repr__(self) -> str:
        return f"<Inert {self.kind.module}.{self.kind.name}>" if isinstance(self.kind, Name) else "<Inert>"


class Stream(Protocol):
    """What of a file a pickle is read from."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self) -> bytes: ...


Lend = Callable[[str, str], Callable[..., object] | None]
_MARK = object()


def nothing_lent(module: str, name: str) -> None:
    """Lend no function: every name stays a `Name`."""


def refuse_persistent(pid: object) -> object:
    """Refuse references to objects outside the file."""
    raise InertPickleError("it refers to objects outside the file")


def load_inert(
    content: bytes | Stream,
    lend: Lend = nothing_lent,
    persistent: Callable[[object], object] = refuse_persistent,
) -> object:
    """The object in a pickle, with `Inert` for every object that is not plain data.

    Args:
        content: the bytes, or a stream that is read to the end of the pickle.
        lend: gives the function to be called where the file calls a name, or None.
        persistent: makes the objects that lie outside the pickle, such as the storages of tensors.

    Raises:
        InertPickleError: if the bytes are no pickle, or cost more than any honest file.
    """
    stream = BytesIO(content) if isinstance(content, bytes) else content
    machine = _Machine(lend, persistent)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(cast(BytesIO, stream))):
            if count >= MAX_OPERATIONS:
                raise InertPickleError(f"it has more than {MAX_OPERATIONS} operations")
            machine.step(operation.name, argument)
    except InertPickleError:
        raise
    # These are the errors of bytes that are no pickle, and of lent functions that get what they do not take.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise InertPickleError(f"it is damaged: {type(error).__name__}: {str(error)[:200]}") from error
    except (EOFError, MemoryError, RecursionError, pickle.UnpicklingError) as error:
        raise InertPickleError(f"it is damaged: {type(error).__name__}") from error
    return machine.result


class _Machine:
    """The stack machine of a pickle."""

    def __init__(self, lend: Lend, persistent: Callable[[object], object]):
        self.lend, self.persistent = lend, persistent
        self.stack: list[object] = []
        self.memo: dict[object, object] = {}
        self.result: object = None

    def step(self, operation: str, argument: object) -> None:
        """Do one operation."""
        if operation in _PLAIN:
            self.stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif operation in _CONSTANTS:
            self.stack.append(_CONSTANTS[operation]())
        elif operation in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif operation == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif operation in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif operation in _METHODS:
            _METHODS[operation](self, argument)
        elif operation not in ("PROTO", "FRAME"):
            raise InertPickleError(f"it uses {operation}, which no honest file needs here")

    def after_mark(self) -> list[object]:
        """Take what was pushed since the last mark off the stack."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise InertPickleError("it is damaged: a mark is missing")

    def take(self, count: int) -> tuple[object, ...]:
        """Take the last values off the stack."""
        if len(self.stack) < count:
            raise InertPickleError("it is damaged: the stack is empty")
        found = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return found

    def stop(self, _: object) -> None:
        (self.result,) = self.take(1)

    def tuple_of(self, count: int) -> None:
        self.stack.append(self.take(count))

    def name(self, argument: object) -> None:
        module, _, name = str(argument).partition(" ")
        self.stack.append(Name(module, name))

    def stack_name(self, _: object) -> None:
        module, name = self.take(2)
        self.stack.append(Name(str(module), str(name)))

    def call(self, kind: object, args: object) -> None:
        lent = self.lend(kind.module, kind.name) if isinstance(kind, Name) else None
        self.stack.append(lent(*args) if lent is not None and isinstance(args, tuple) else Inert(kind, args))

    def call_with_keywords(self, _: object) -> None:
        kind, args, keywords = self.take(3)
        self.stack.append(Inert(kind, (args, keywords)))

    def call_marked(self, argument: object) -> None:
        if argument is not None:
            self.name(argument)
            kind = self.stack.pop()
            args = self.after_mark()
        else:
            kind, *args = self.after_mark()
        self.call(kind, tuple(args))

    def build(self, _: object) -> None:
        (state,) = self.take(1)
        if isinstance(self.stack[-1], Name):
            raise InertPickleError(f"it changes {self.stack[-1]} itself, and not an object")
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state  # Attributes of plain containers and of tensors are left out.

    def append(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.items += items
        elif isinstance(target, list):
            target += items
        else:
            raise InertPickleError(f"it appends to a {type(target).__name__}")

    def set_items(self, flat: list[object]) -> None:
        target, pairs = self.stack[-1], list(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(target, Inert):
            target.items += pairs
        elif isinstance(target, dict):
            for key, value in pairs:
                target[_plain_key(key)] = value
        else:
            raise InertPickleError(f"it sets items of a {type(target).__name__}")

    def make_dict(self, _: object) -> None:
        flat = self.after_mark()
        self.stack.append({})
        self.set_items(flat)

    def duplicate(self, _: object) -> None:
        self.stack.append(self.stack[-1])


def _plain_key(key: object) -> Hashable:
    """A key as it is if its hash is cheap; a nested tuple's may take for ever, so other keys stand in an `Inert`."""
    return key if isinstance(key, str | int | float | bytes | Name | None) else Inert("key", key)


def _drop(machine: _Machine, _: object) -> None:
    machine.take(1)


def _drop_marked(machine: _Machine, _: object) -> None:
    machine.after_mark()


_PLAIN = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,  # As a list: its members need no hash.
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_METHODS: dict[str, Callable[[_Machine, object], None]] = {
    "STOP": _Machine.stop,
    "POP": _drop,
    "POP_MARK": _drop_marked,
    "DUP": _Machine.duplicate,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.after_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.stack.append(machine.after_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.after_mark()),
    "DICT": _Machine.make_dict,
    "APPEND": lambda machine, _: machine.append(list(machine.take(1))),
    "APPENDS": lambda machine, _: machine.append(machine.after_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.after_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.after_mark()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "INST": _Machine.call_marked,
    "OBJ": _Machine.call_marked,
    "REDUCE": lambda machine, _: machine.call(*machine.take(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.take(2)),
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "PERSID": lambda machine, argument: machine.stack.append(machine.persistent(argument)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.take(1)[0])),
}
