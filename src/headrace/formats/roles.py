"""Which columns of a file are likely x, y and sample_weight, judged by names and shapes."""

import re
from typing import NamedTuple

from headrace.spec import Field

_X = frozenset({"x", "image", "images", "img", "data", "features", "input", "inputs"})
_Y = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
_WEIGHTS = frozenset({"weight", "weights", "sample_weight", "sample_weights"})
_NOTES = frozenset(
    {
        *("id", "ids", "index", "indices", "idx", "indptr", "offset", "offsets", "name", "names"),
        *("time", "times", "timestamp", "timestamps", "date", "dates", "lat", "latitude", "lon"),
        *("longitude", "file", "files", "filename", "filenames", "path", "paths", "key", "keys"),
    }
)
"""Names of columns that say where a sample comes from; they are never guessed as targets."""

_PARTS = re.compile(r"[_-]?(train|training)[_-]?")
"""The prefix or suffix of names such as `x_train`."""


class Roles(NamedTuple):
    """Columns as x, y and sample_weight; `y` and `sample_weight` may be None."""

    x: str
    y: str | None = None
    sample_weight: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, x first."""
        return tuple(name for name in self if name is not None)

    def call(self, reader: str, path: str, **more: object) -> str:
        """The call that reads them, as Python.

        Args:
            reader: The function, such as "hr.from_hdf5".
            path: The file, as it is to be named.
            **more: Further arguments.
        """
        return python_call(reader, repr(path), **self._asdict(), **more)


def python_call(function: str, *given: str, **options: object) -> str:
    """Python code of a call, with the options that are not None."""
    named = (f"{name}={value!r}" for name, value in options.items() if value is not None)
    return f"{function}({', '.join([*given, *named])})"


def assign(fields: dict[str, Field]) -> Roles | None:
    """Assigns columns of one length to x, y and sample_weight; None unless one way is likely."""
    weight = _named(fields, _WEIGHTS)
    left = {name: field for name, field in fields.items() if name != weight}
    if len(left) == 1:
        # A label alone: its samples are elsewhere.
        return None if _named(left, _Y) else Roles(*left)
    y = _named(left, _Y)
    x = _named({name: field for name, field in left.items() if name != y}, _X)
    if x is None:
        others = {name: field for name, field in left.items() if name != y}
        shaped = [name for name, field in others.items() if field.shape]
        candidates = shaped if len(shaped) == 1 else list(others)
        x = candidates[0] if len(candidates) == 1 else None
    if x is None:
        return None
    others = {name: field for name, field in left.items() if name != x}
    if y is None:
        others = {name: field for name, field in others.items() if not is_note(name)}
    if y is None and len(others) > 1:
        return None
    return Roles(x, y or next(iter(others), None), weight)


def is_input(name: str) -> bool:
    """Whether a column has a usual name of inputs."""
    return _last(name) in _X


def is_label(name: str) -> bool:
    """Whether a column, or a member of one, has a usual name of labels."""
    return _last(name) in _Y


def is_note(name: str) -> bool:
    """Whether a column's name says that it tells where a sample comes from."""
    return _last(name) in _NOTES


def _named(fields: dict[str, Field], names: frozenset[str]) -> str | None:
    """The field with one of these names; None if there is none, or more than one."""
    found = [name for name in fields if _last(name) in names]
    return found[0] if len(found) == 1 else None


def _last(name: str) -> str:
    """The last part of a name, without the prefix or suffix `train`."""
    return _PARTS.sub("", name.rpartition("/")[2].lower())


def guess(fields: dict[str, Field], lengths: dict[str, int]) -> Roles | None:
    """Guesses x, y and sample_weight; None if that is not clear.

    Args:
        fields: The columns that a model may take.
        lengths: Rows of each.
    """
    if not fields:
        return None
    largest = max(fields, key=lambda name: lengths[name] * fields[name].nbytes)
    beside = {name: f for name, f in fields.items() if lengths[name] == lengths[largest]}
    folder = largest.rpartition("/")[0]
    near = {name: f for name, f in beside.items() if name.rpartition("/")[0] == folder}
    return assign(near) or assign(beside)
