"""Transforms of batches: structure into x and y, map functions, class weights."""

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
    """A map function, and how it wants to be called."""

    fn: MapFn
    _takes_whole: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, batch: tuple[Any, ...]) -> Any:
        """What the function makes of a batch."""
        parts = len(batch)
        if parts not in self._takes_whole:
            self._takes_whole[parts] = self._looks_for_whole(parts)
        try:
            return self.fn(batch) if self._takes_whole[parts] else self.fn(*batch)
        except StopIteration as error:
            # In a loop it would look like the end of the data.
            raise DataError(f"Map function {self.name!r} raised StopIteration.") from error

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.fn, "__name__", repr(self.fn))

    def digest(self) -> str:
        """What the function does, as a text that differs when it would do something else.

        Raises:
            StateError: If that cannot be told in another process.
        """
        try:
            return digest_of(self.fn)
        except IncomparableError as error:
            raise StateError(
                f"Whether the map function {self.name!r} is the one of then cannot be known: it "
                f"refers to {error}. Say version= (--map-version) from the start, a text that you "
                "change whenever the function changes; or pack anew, without resume."
            ) from error

    def _looks_for_whole(self, parts: int) -> bool:
        """Whether the function takes a batch of several parts as one argument."""
        try:
            signature = inspect.signature(self.fn)
        except (TypeError, ValueError):  # some built-in functions do not tell
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
    """A batch in the structure in which the model gets it, after the map functions."""
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
    """Makes batches of arrays, as `collate` does."""

    structure: Spec
    maps: tuple[MapStep, ...] = ()

    @property
    def moves_only(self) -> bool:
        """Whether arrays only find their places: those of several batches at a time may, too."""
        return not self.maps

    def __call__(self, arrays: Mapping[str, Array]) -> Batch:
        return collate(self.structure, self.maps, arrays)


def stacked(batches: Sequence[Batch]) -> Batch | None:
    """Batches as one, in arrays `(len(batches), rows, ...)`; None if they differ in shape."""
    flat = [leaves(batch) for batch in batches]
    shapes = [array.shape for array in flat[0]]
    if any([array.shape for array in one] != shapes for one in flat):
        return None
    columns = map(np.stack, zip(*flat, strict=True))
    return map_structure(lambda _: next(columns), batches[0])


def with_class_weight(
    finished: Callable[[Mapping[str, Array]], Batch], class_weight: Mapping[int, float]
) -> Callable[[Mapping[str, Array]], Batch]:
    """Adds sample weights by class to each batch.

    y holds class numbers, of shape `(rows,)` or `(rows, 1)`, or one-hot rows; a class that
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
    """Why there is nothing that `class_weight` could weigh in a batch."""
    if len(batch) < 2:
        return "class_weight weighs samples by their y, and these batches have x alone: name y=."
    if len(batch) > 2:
        return (
            "These batches have a sample_weight already: give sample_weight alone, or "
            "class_weight alone."
        )
    return (
        f"class_weight is for one array y, and y has {len(leaves(batch[1]))} here. Give "
        "sample_weight= with weights for each of them."
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
    """The fields of a batch that map functions made, named after their places in it."""
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
