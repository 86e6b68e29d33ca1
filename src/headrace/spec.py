"""Fields and columns of a sample, and their places in x, y and sample_weight."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import OptionError, printable, some_of
from headrace.html import html_table

Structure = Any
"""Nested tuples and dicts: of field names in a `Spec`, of arrays in a batch."""

Indices = npt.NDArray[np.int64]
"""Row numbers or positions."""

PARTS = ("x", "y", "sample_weight")


@dataclass(frozen=True)
class Field:
    """A named column of samples.

    Attributes:
        name: The field's name, as in the file.
        shape: Shape of one sample, without the sample axis.
        dtype: NumPy dtype of one element.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return printable(f"{self.name} {self.shape} {self.dtype}")

    def __repr__(self) -> str:
        return f"<Field {self}>"


@dataclass(frozen=True)
class Column:
    """A column of a file; it can become a field if all its values have one size.

    Attributes:
        name: The column's name in the file.
        type: "number", "bool", "text", "category", "date", "bytes" or "record" (compound values).
        shape: Shape of one sample.
        dtype: NumPy dtype of one element; None where values have no fixed size.
        missing: Whether values may be missing.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    missing: bool = False

    @classmethod
    def of(cls, field: Field) -> "Column":
        """The column of a field, without missing values."""
        return cls(field.name, _TYPES.get(field.dtype.kind, "bytes"), field.shape, field.dtype)


_TYPES = {
    **dict.fromkeys("iufc", "number"),
    **dict.fromkeys("SU", "text"),
    **dict.fromkeys("mM", "date"),
    "b": "bool",
    "V": "record",
}
"""Kind of NumPy dtype -> type of `Column`."""


@dataclass(frozen=True)
class Spec(Mapping[str, Field]):
    """The fields of a sample and their places in a batch.

    A mapping from field name to `Field`. `x`, `y` and `sample_weight` hold field names in the
    structure in which the model receives the arrays.

    Example:

    ```python
    data.spec["image"].shape    # (32, 32, 3)
    data.spec.y                 # "label"
    print(data.spec)
    ```
    """

    fields: tuple[Field, ...]
    x: Structure
    y: Structure = None
    sample_weight: Structure = None

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(field.name for field in self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample over all fields."""
        return sum(field.nbytes for field in self.fields)

    @property
    def parts(self) -> tuple[Structure, ...]:
        """The structure of a batch: `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
        if self.sample_weight is not None:
            return (self.x, self.y, self.sample_weight)
        return (self.x,) if self.y is None else (self.x, self.y)

    def __str__(self) -> str:
        return "\n".join(f"{part}: {self[name]}" for part, name in self._places())

    def _places(self) -> list[tuple[str, str]]:
        """Pairs of part ("x", "y", "sample_weight") and field name."""
        return [(part, name) for part in PARTS for name in leaves(getattr(self, part))]

    def __repr__(self) -> str:
        return f"<Spec of {short_list([f'{part}: {self[name]}' for part, name in self._places()])}>"

    def _repr_html_(self) -> str:
        return self.to_html(f"Samples of {self.nbytes:,} bytes")

    def to_html(self, caption: str) -> str:
        """A table of the fields, for a notebook."""
        fields = [(part, self[name]) for part, name in self._places()]
        rows = [(part, field.name, field.shape, field.dtype) for part, field in fields]
        return html_table(caption, rows, ("", "field", "shape", "dtype"))


def short_list(items: Sequence[object], most: int = 4) -> str:
    """The first items as text, and the number of the others, for a repr."""
    more = f", and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def may_be_named(name: Any, names: Sequence[Any]) -> bool:
    """Whether a field can be stored as `name`, such as "image" or "group/image".

    Args:
        name: The name that the user gave.
        names: The names of all fields, including `name`. A name must be unique, and must not be
            the group of another name.
    """
    if not isinstance(name, str) or names.count(name) > 1 or "\0" in name:
        return False
    parts = name.split("/")
    inside = any(str(other).startswith(f"{name}/") for other in names)
    # A lone surrogate, which a file name can contain, cannot be encoded in UTF-8.
    text = name.encode(errors="ignore").decode() == name
    return text and not inside and all(parts) and "." not in parts


def check_names(part: str, names: Structure) -> None:
    """Checks that x, y or sample_weight consists of field names; x may be `...` as well.

    Raises:
        OptionError: If it does not.
    """
    if names is ... and part == "x":
        return
    found: list[Any] = []
    # None counts as a leaf here, unlike in `leaves`, which would drop it silently.
    waiting = [names] if names is not None else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        else:
            found.append(item)
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong or (names is not None and not found):
        received = wrong[0] if wrong else names
        shown = type(received).__name__ if hasattr(received, "shape") else repr(received)
        raise OptionError(
            f"Expected {part}= to be the name of a field, or a list or dict of names. "
            f"Received: {shown}"
        )


def check_weights(y: Structure, sample_weight: Structure) -> None:
    """Checks that `sample_weight` has one entry for all targets, or one for each target.

    Args:
        y: A structure of names or arrays.
        sample_weight: Likewise.

    Raises:
        OptionError: If there is no target, or the entries do not match the targets.
    """
    if sample_weight is None:
        return
    if y is None:
        raise OptionError("sample_weight= needs y=: Keras weights the loss of the targets.")
    way = "Give weights for each target (np.ones() if all samples count alike), or one for all."
    if isinstance(sample_weight, Mapping):
        targets = list(y) if isinstance(y, Mapping) else []
        missing = [str(key) for key in targets if key not in sample_weight]
        if missing:
            raise OptionError(f"sample_weight has no entry for {some_of(missing)}. {way}")
        unknown = [str(key) for key in sample_weight if key not in targets]
        if unknown:
            named = f"y has {some_of(list(map(str, targets)))}" if targets else "y has no names"
            raise OptionError(f"sample_weight names {some_of(unknown)}, and {named}. {way}")
    elif isinstance(sample_weight, (list, tuple)):
        count = len(y) if isinstance(y, (list, tuple)) else 1
        if isinstance(y, Mapping) or len(sample_weight) != count:
            raise OptionError(
                f"sample_weight is a list of {len(sample_weight)}, and y has "
                f"{f'a dict of {len(y)}' if isinstance(y, Mapping) else count}. {way}"
            )


_LEAVES = (str, np.ndarray)
"""Types that are no mapping. Checked first, since `isinstance(leaf, Mapping)` for each leaf would
take longer than the rest of the work on a batch."""


def leaves(structure: Structure) -> list[Any]:
    """The leaves of nested tuples, lists and dicts, in order; None has no leaves."""
    if structure is None:
        return []
    if isinstance(structure, (tuple, list)):
        return [leaf for value in structure for leaf in leaves(value)]
    if not isinstance(structure, _LEAVES) and isinstance(structure, Mapping):
        return [leaf for value in structure.values() for leaf in leaves(value)]
    return [structure]


def map_structure(fn: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same structure with `fn` applied to each leaf; lists become tuples, as in Keras."""
    if structure is None:
        return None
    if isinstance(structure, (tuple, list)):
        return tuple([map_structure(fn, value) for value in structure])
    if not isinstance(structure, _LEAVES) and isinstance(structure, Mapping):
        return {key: map_structure(fn, value) for key, value in structure.items()}
    return fn(structure)
