"""What a sample is: fields, their shapes and dtypes, and how they form x, y and sample_weight."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import DataError, printable

Structure = Any
"""A nest of tuples and dicts: of field names in a `Spec`, of arrays in a batch."""

Indices = npt.NDArray[np.int64]
"""Row numbers or positions."""

PARTS = ("x", "y", "sample_weight")

_EXACT = 1 << 53
"""Up to here, float64 holds every integer."""


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


@dataclass(frozen=True)
class Spec(Mapping[str, Field]):
    """The fields of a sample and their places in a batch.

    A mapping from field name to `Field`; `x`, `y` and `sample_weight` hold the
    names in the structure in which the model gets them.

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
        return "\n".join(
            f"{part}: {self[name]}" for part in PARTS for name in leaves(getattr(self, part))
        )


def array_of(given: Any, what: str) -> npt.NDArray[Any]:
    """The array that NumPy makes of what a user gave, where it holds the same values.

    Of a list of integers, some of which are beyond int64, NumPy makes floats, which have no room
    for all of their digits; of numbers beside text it makes text; and it drops masks.

    Args:
        given: An array, a list, or a number.
        what: What it is, for the error.

    Raises:
        DataError: If the array would hold other values.
        ValueError: If lists are of unequal lengths.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise DataError(
            f"{what} is a masked array, and masks are not kept. Say filled() to give masked values "
            "a value, or leave them out."
        )
    array = np.asarray(given)
    if not isinstance(given, (list, tuple)) or array.dtype.kind not in "fcUS":
        return array
    single: list[Any] = np.asarray(given, np.object_).reshape(-1).tolist()
    if array.dtype.kind in "US":
        if not all(isinstance(value, (str, bytes)) for value in single):
            raise DataError(f"{what} mixes text with other values. Expected one type of value.")
        return array
    whole = [isinstance(value, (int, np.integer)) for value in single]
    large = [v for v, i in zip(single, whole, strict=True) if i and abs(int(v)) > _EXACT]
    if not large:
        return array
    if all(whole) and min(single) >= 0 and max(single) < 1 << 64:
        return np.array([int(value) for value in single], np.uint64).reshape(array.shape)
    raise DataError(
        f"{what} has {large[0]} in a list with others that no type of integers holds as well, and "
        "floats have no room for all of its digits. Give an array of one dtype."
    )


def may_be_named(name: Any, names: Sequence[Any]) -> bool:
    """Whether a field can be stored as `name`, such as "image" or "group/image".

    Args:
        name: What a user gave.
        names: Those of all fields, this one among them: a name is no other's, and no other's group.
    """
    if not isinstance(name, str) or names.count(name) > 1 or "\0" in name:
        return False
    parts = name.split("/")
    inside = any(str(other).startswith(f"{name}/") for other in names)
    # Half of a character, as file names can hold it, has no form in UTF-8.
    text = name.encode(errors="ignore").decode() == name
    return text and not inside and all(parts) and "." not in parts


_LEAVES = (str, np.ndarray)
"""No mappings: asking `Mapping` about each would take longer than all else about a batch."""


def leaves(structure: Structure) -> list[Any]:
    """The leaves of a nest of tuples, lists and dicts, in order; None has none."""
    if structure is None:
        return []
    if isinstance(structure, (tuple, list)):
        return [leaf for value in structure for leaf in leaves(value)]
    if not isinstance(structure, _LEAVES) and isinstance(structure, Mapping):
        return [leaf for value in structure.values() for leaf in leaves(value)]
    return [structure]


def map_structure(fn: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same nest with `fn` applied to each leaf; lists become tuples, as Keras treats them."""
    if structure is None:
        return None
    if isinstance(structure, (tuple, list)):
        return tuple([map_structure(fn, value) for value in structure])
    if not isinstance(structure, _LEAVES) and isinstance(structure, Mapping):
        return {key: map_structure(fn, value) for key, value in structure.items()}
    return fn(structure)
