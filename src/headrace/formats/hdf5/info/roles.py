"""Which datasets of a file are likely x, y and sample_weight."""

import re
from typing import NamedTuple

from headrace.sources.hdf5.survey import Found
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
"""Such names say where a sample is from: they are not guessed as what to predict."""

_PARTS = re.compile(r"[_-]?(train|training)[_-]?")
"""What names of data that are cut into parts have in front or behind, as in `x_train`."""


class Roles(NamedTuple):
    """The datasets that take each part; `y` and `sample_weight` may be None."""

    x: str
    y: str | None = None
    sample_weight: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The datasets, x first."""
        return tuple(name for name in self if name is not None)

    def call(self, path: str, **more: object) -> str:
        """The call of `from_hdf5` that reads them, as Python."""
        return python_call("hr.from_hdf5", repr(path), **self._asdict(), **more)


def python_call(function: str, *given: str, **options: object) -> str:
    """A call as Python, with the options that are not None."""
    named = (f"{name}={value!r}" for name, value in options.items() if value is not None)
    return f"{function}({', '.join([*given, *named])})"


def guess(datasets: list[Found]) -> Roles | None:
    """The parts as a person would name them; None where they would have to ask.

    Args:
        datasets: All that are there.
    """
    fields = list(fields_of(datasets).items())
    if not fields:
        return None
    lengths = {item.name: item.source.length for item in datasets if item.source}
    largest = max(fields, key=lambda pair: lengths[pair[0]] * pair[1].nbytes)[0]
    beside = [pair for pair in fields if lengths[pair[0]] == lengths[largest]]
    folder = largest.rpartition("/")[0]
    near = [pair for pair in beside if pair[0].rpartition("/")[0] == folder]
    return assign(dict(near)) or assign(dict(beside))


def fields_of(datasets: list[Found]) -> dict[str, Field]:
    """The fields that a model may take."""
    return {item.name: field for item in datasets if (field := numbers(item))}


def read_together(path: str, names: list[str], fields: dict[str, Field], end: int) -> str:
    """The call of `from_hdf5` that reads the first rows of fields of unequal length, as Python."""
    known = {name: fields[name] for name in names if name in fields}
    roles = assign(known) if len(known) == len(names) > 1 else None
    if roles is not None and set(roles.names) == set(names):
        return roles.call(path, end=end)
    return python_call("hr.from_hdf5", repr(path), x=names, end=end)


def numbers(item: Found) -> Field | None:
    """A dataset's field, if it holds numbers that a model may take."""
    if item.error or not item.source or not item.storage or not item.storage.mostly_written:
        return None
    field = item.source.fields[0]
    return field if field.dtype.kind in "biuf" else None


def assign(fields: dict[str, Field]) -> Roles | None:
    """Gives each of several datasets of one length its part, if only one way is likely."""
    weight = _named(fields, _WEIGHTS)
    left = {name: field for name, field in fields.items() if name != weight}
    if len(left) == 1:
        # A lone label has its samples in some other place.
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
    """Whether a dataset is called as inputs of models are."""
    return _last(name) in _X


def is_label(name: str) -> bool:
    """Whether a dataset, or a member of one, is called as labels are."""
    return _last(name) in _Y


def is_note(name: str) -> bool:
    """Whether a dataset is called as what says where a sample is from."""
    return _last(name) in _NOTES


def _named(fields: dict[str, Field], names: frozenset[str]) -> str | None:
    """The only one of these fields that has one of these names."""
    found = [name for name in fields if _last(name) in names]
    return found[0] if len(found) == 1 else None


def _last(name: str) -> str:
    """The last part of a name, without what says which part of the data it is of."""
    return _PARTS.sub("", name.rpartition("/")[2].lower())
