"""Transforms of batches: structuring into x and y, map functions, class weights."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError, OptionError, StateError
from headrace.function_digest import IncomparableError, digest_of
from headrace.spec import Field, Spec, Structure, check_weights, leaves, map_structure

Array = npt.NDArray[Any]
Batch = Any
MapFn = Callable[..., Any]


@dataclass(frozen=True)
class MapStep:
    """A map function, called with the parts of a batch, or with the batch as one tuple."""

    fn: MapFn
    _takes_one_argument: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, batch: tuple[Any, ...]) -> Any:
        """Applies the function to a batch."""
        parts = len(batch)
        if parts not in self._takes_one_argument:
            self._takes_one_argument[parts] = self._wants_one_argument(parts)
        try:
            return self.fn(batch) if self._takes_one_argument[parts] else self.fn(*batch)
        except StopIteration as error:
            # A StopIteration would silently end the loop over the batches.
            raise DataError(f"Map function {self.name!r} raised StopIteration.") from error

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.fn, "__name__", repr(self.fn))

    def digest(self) -> str:
        """A text that changes when the function's code or the values that it uses change.

        Raises:
            StateError: If the function refers to something that cannot be compared between
                processes.
        """
        try:
            return digest_of(self.fn)
        except IncomparableError as error:
            raise StateError(
                f"Cannot tell whether the map function {self.name!r} has changed since the run "
                f"that is resumed: it refers to {error}. Give version= (--map-version) from the "
                "first run on, a text that you change whenever the function changes; or pack "
                "again from the start, without resume."
            ) from error

    def _wants_one_argument(self, parts: int) -> bool:
        """Whether the function takes a batch of several parts as one argument."""
        try:
            signature = inspect.signature(self.fn)
        except (TypeError, ValueError):  # some built-in functions have no signature
            return False
        for count in (parts, 1):
            try:
                signature.bind(*range(count))
            except TypeError:
                continue
            return count < parts
        raise OptionError(
            f"Expected a map function that takes the {parts} parts of a batch, or the batch as "
            f"one argument. Received: {self.name}{signature}"
        )


def collate(structure: Spec, maps: Sequence[MapStep], arrays: Mapping[str, Array]) -> Batch:
    """Structures the arrays of a batch for the model, and applies the map functions."""
    batch = map_structure(lambda name: arrays[name], structure.parts)
    rows = len(next(iter(arrays.values())))
    for step in maps:
        mapped = step(batch)
        if mapped is None:
            raise DataError(f"Map function {step.name!r} returned None. Is a return missing?")
        batch = mapped if isinstance(mapped, tuple) else (mapped,)
        batch = map_structure(np.asarray, batch)
        _check_mapped(batch, rows, step.name)
    return batch


@dataclass(frozen=True)
class Collate:
    """Makes a batch from the arrays of its fields, as the function `collate` does."""

    structure: Spec
    maps: tuple[MapStep, ...] = ()

    @property
    def moves_only(self) -> bool:
        """Whether arrays are only put in their places; then several batches may be done at once."""
        return not self.maps

    def __call__(self, arrays: Mapping[str, Array]) -> Batch:
        return collate(self.structure, self.maps, arrays)


def stacked(batches: Sequence[Batch]) -> Batch | None:
    """Stacks batches into arrays `(len(batches), rows, ...)`; None if their shapes differ."""
    flat = [leaves(batch) for batch in batches]
    shapes = [array.shape for array in flat[0]]
    if any([array.shape for array in one] != shapes for one in flat):
        return None
    columns = map(np.stack, zip(*flat, strict=True))
    return map_structure(lambda _: next(columns), batches[0])


def with_class_weight(
    finished: Callable[[Mapping[str, Array]], Batch], class_weight: Mapping[int, float]
) -> Callable[[Mapping[str, Array]], Batch]:
    """Wraps `finished` so that each batch gets sample weights by class.

    y must hold class numbers, of shape `(rows,)` or `(rows, 1)`, or one-hot rows. A class that
    `class_weight` does not name has weight 1, as in Keras.
    """
    weights = {int(k): float(v) for k, v in class_weight.items()}

    def weighted(arrays: Mapping[str, Array]) -> Batch:
        batch = finished(arrays)
        if len(batch) != 2 or not isinstance(batch[1], np.ndarray):
            raise OptionError(_why_unweighted(batch))
        x, y = batch
        if y.ndim > 1:
            y = y.argmax(axis=-1) if y.shape[-1] != 1 else y[..., 0]
        classes, place = np.unique(np.round(y).astype(np.int64), return_inverse=True)
        table = np.array([weights.get(c, 1.0) for c in classes.tolist()], np.float32)
        return (x, batch[1], table[place].reshape(y.shape))

    return weighted


def _why_unweighted(batch: Batch) -> str:
    """The message that says why `class_weight` does not apply to a batch."""
    if len(batch) < 2:
        return "class_weight weights samples by their y, and these batches have only x: name y=."
    if len(batch) > 2:
        return (
            "These batches have a sample_weight already: give either sample_weight or class_weight."
        )
    return (
        f"class_weight needs y to be one array, and y has {len(leaves(batch[1]))} here. Give "
        "sample_weight= with weights for each array."
    )


def _check_mapped(batch: Batch, rows: int, name: str) -> None:
    if not 1 <= len(batch) <= 3:
        raise DataError(
            f"Expected map function {name!r} to return (x,), (x, y) or (x, y, sample_weight). "
            f"It returned a tuple of {len(batch)}."
        )
    if len(batch) == 3:
        check_weights(*batch[1:])
    for array in leaves(batch):
        if array.ndim == 0 or len(array) != rows:
            raise DataError(
                f"Expected map function {name!r} to keep the {rows} rows of its batch. "
                f"It returned an array of shape {array.shape}."
            )


def spec_of(batch: Batch) -> Spec:
    """The fields of a mapped batch, named after their places: "x", "y.0", "sample_weight.key"."""
    fields: list[Field] = []

    def name(structure: Structure, label: str) -> Structure:
        if isinstance(structure, Mapping):
            return {key: name(value, f"{label}.{key}") for key, value in structure.items()}
        if isinstance(structure, tuple):
            return tuple(name(value, f"{label}.{i}") for i, value in enumerate(structure))
        if structure is None:
            return None
        fields.append(Field(label, structure.shape[1:], structure.dtype))
        return label

    parts = [name(p, label) for p, label in zip(batch, ("x", "y", "sample_weight"), strict=False)]
    return Spec(tuple(fields), *parts)
