"""One batch of somebody else's making, as arrays."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import DataError
from penstock.spec import PARTS, leaves, map_structure

Batch = Any
Wanted = int | list[int]
"""Which item, or which items make a batch."""


def make(items: Any, wanted: Wanted, number: int) -> Batch:
    """One batch, as arrays.

    Raises:
        DataError: If it is none; and whatever the object raises, with a note of the batch.
    """
    index = wanted
    try:
        if isinstance(wanted, int):
            return as_batch(items[wanted], number)
        samples = []
        for index in wanted:
            samples.append(items[index])
        return as_batch(_stacked(samples), number)
    except DataError:
        raise
    except StopIteration as error:
        # In a loop it would look like the end of the data.
        raise DataError(f"Item {index} of batch {number} raised StopIteration.") from error
    except Exception as error:
        item = "" if isinstance(wanted, int) else f", from item {index}"
        error.add_note(f"raised while batch {number} was made{item}")
        raise


def as_batch(made: Any, number: int) -> Batch:
    """What an object gave, as `(x,)`, `(x, y)` or `(x, y, sample_weight)` of NumPy arrays.

    Raises:
        DataError: If it cannot be that; names the batch.
    """
    parts = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    if not 1 <= len(parts) <= 3:
        raise DataError(
            f"Expected batch {number} to be x, (x, y) or (x, y, sample_weight). Received: a "
            f"{type(made).__name__} of {len(parts)}."
        )
    batch = tuple(_arrays(part, name, number) for part, name in zip(parts, PARTS, strict=False))
    rows = {len(array) if array.ndim else 0 for array in leaves(batch)}
    if len(rows) != 1 or not min(rows):
        shapes = ", ".join(str(array.shape) for array in leaves(batch))
        raise DataError(
            f"Expected the arrays of batch {number} to have the same number of rows, one or more. "
            f"Received: shapes {shapes or 'of no array'}."
        )
    return batch


def let_go(batch: Batch) -> Batch:
    """The batch, with copies of those arrays whose memory somebody else refers to.

    An object may fill the same array for each of its batches, and would change those that wait
    for their turn.
    """
    ours = leaves(batch)
    shared = {
        id(array)
        for array in ours
        if not _COUNTS or array.base is not None or sys.getrefcount(array) > _ALONE
    }
    return map_structure(lambda a: a.copy() if id(a) in shared else a, batch) if shared else batch


def _references() -> int:
    """How often an array in a batch is referred to where `let_go` looks, if nobody else does."""
    batch = (np.empty(1),)
    ours = leaves(batch)
    (count,) = {sys.getrefcount(array) for array in ours}
    return count


_ALONE = _references()
_COUNTS = getattr(sys, "_is_gil_enabled", lambda: True)()


def _arrays(part: Any, name: str, number: int) -> Any:
    """A nest with arrays as its leaves."""
    if isinstance(part, Mapping):
        return {key: _arrays(value, f"{name}.{key}", number) for key, value in part.items()}
    if isinstance(part, (list, tuple)) and not _is_numbers(part):
        return tuple(_arrays(value, f"{name}.{i}", number) for i, value in enumerate(part))
    try:
        # Tensors of PyTorch and TensorFlow know the way themselves.
        part = part.detach().cpu() if hasattr(part, "detach") else part
        array = np.ascontiguousarray(part) if np.ndim(part) else np.asarray(part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} of batch {number} is no array: {error}") from error
    if array.dtype.hasobject:
        raise DataError(
            f"{name} of batch {number} holds Python objects ({type(part).__name__}). Expected "
            "arrays of numbers, all samples of one shape."
        )
    return array


def _is_numbers(values: Sequence[Any]) -> bool:
    """Whether a list stands for an array, and not for several inputs."""
    return bool(values) and all(np.isscalar(value) for value in values)


def _stacked(samples: list[Any]) -> Any:
    """Samples, each `x`, or a tuple `(x, y)` or `(x, y, sample_weight)`, as one batch."""
    first = samples[0]
    if isinstance(first, tuple) and 1 < len(first) <= len(PARTS):
        return tuple(_together([sample[i] for sample in samples]) for i in range(len(first)))
    return _together(samples)


def _together(values: list[Any]) -> Any:
    """One part of each sample, a value or a nest, as the same part of a batch."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _together([value[key] for value in values]) for key in first}
    if isinstance(first, (tuple, list)) and not _is_numbers(first):
        return tuple(_together([value[i] for value in values]) for i in range(len(first)))
    arrays: list[npt.NDArray[Any]] = [
        np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in values
    ]
    try:
        return np.stack(arrays)
    except ValueError as error:
        shapes = sorted({str(array.shape) for array in arrays})
        raise DataError(
            f"Samples of one batch have different shapes: {', '.join(shapes)}. Expected one shape."
        ) from error
