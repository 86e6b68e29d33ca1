"""One batch of a user-supplied object: fetched, collated and converted to NumPy arrays."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import DataError
from headrace.loading.items.failures import add_note
from headrace.spec import PARTS, leaves, map_structure

Array = npt.NDArray[Any]
Batch = Any
ItemIndices = int | list[int]
"""The item that is a batch, or the items that make one."""


def make_batch(items: Any, indices: ItemIndices, number: int) -> Batch:
    """Fetches one batch and converts it to arrays.

    Raises:
        DataError: If the object gives no valid batch; the message names the batch and the item.
            Errors that the object raises pass through, with a note that names both.
    """
    name = batch_name(indices, number)
    if isinstance(indices, int):
        return as_batch(_items(items, [indices], name)[0], name)
    return as_batch(_stack_samples(_items(items, indices, name), indices, name), name)


def batch_name(indices: ItemIndices, number: int) -> str:
    """The name of a batch in messages, with its item where that has another index."""
    is_item = isinstance(indices, int) and indices != number
    return f"batch {number} (item {indices})" if is_item else f"batch {number}"


def _items(items: Any, indices: Sequence[int], batch: str) -> list[Any]:
    made: list[Any] = []
    index = -1
    try:
        for index in indices:
            made.append(items[index])
    except StopIteration as error:
        # In a loop it would look like the end of the data.
        raise DataError(f"Item {index} of {batch} raised StopIteration.") from error
    except Exception as error:
        origin = f", from item {index}" if len(indices) > 1 else ""
        add_note(error, f"raised while {batch} was made{origin}")
        raise
    return made


def as_batch(made: Any, name: str) -> Batch:
    """The object's return value as `(x,)`, `(x, y)` or `(x, y, sample_weight)` of NumPy arrays.

    Args:
        made: What the object returned.
        name: The batch's name in messages.

    Raises:
        DataError: If it cannot be converted.
    """
    if made is None:
        raise DataError(f"{_capital(name)} is None. Is a return missing in __getitem__?")
    parts = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    if not 1 <= len(parts) <= len(PARTS):
        raise DataError(
            f"Expected {name} to be x, (x, y) or (x, y, sample_weight). Received: a "
            f"{type(made).__name__} of {len(parts)}."
        )
    batch = tuple(
        _arrays(part, label, f" of {name}") for part, label in zip(parts, PARTS, strict=False)
    )
    rows = {len(array) if array.ndim else 0 for array in leaves(batch)}
    if len(rows) != 1 or not min(rows):
        shapes = ", ".join(str(array.shape) for array in leaves(batch))
        raise DataError(
            f"Expected the arrays of {name} to have the same number of rows, one or more. "
            f"Received: shapes {shapes or 'of no array'}."
        )
    return batch


def copy_shared_arrays(batch: Batch) -> Batch:
    """Copies those arrays of a batch whose memory other code refers to.

    An object may fill the same array for each of its batches, which would change the
    batches that wait in the queue.
    """
    ours = leaves(batch)
    shared = {
        id(array)
        for array in ours
        if not _HAS_EXACT_COUNTS
        or array.base is not None
        or sys.getrefcount(array) > _UNSHARED_COUNT
    }
    return map_structure(lambda a: a.copy() if id(a) in shared else a, batch) if shared else batch


def _references() -> int:
    """The reference count that `copy_shared_arrays` sees for an unshared array."""
    batch = (np.empty(1),)
    ours = leaves(batch)
    (count,) = {sys.getrefcount(array) for array in ours}
    return count


_UNSHARED_COUNT = _references()
_HAS_EXACT_COUNTS = getattr(sys, "_is_gil_enabled", lambda: True)()


def _arrays(part: Any, label: str, of: str) -> Any:
    """The same nested structure with NumPy arrays as its leaves."""
    if isinstance(part, Mapping):
        return {key: _arrays(value, f"{label}.{key}", of) for key, value in part.items()}
    if _is_nest(part):
        return tuple(_arrays(value, f"{label}.{i}", of) for i, value in enumerate(part))
    return _array(part, label, of)


def _array(value: Any, label: str, of: str) -> Array:
    if value is None:
        raise DataError(f"{label}{of} is None. Expected an array.")
    try:
        # np.asarray converts tensors of PyTorch and TensorFlow that are on the CPU.
        value = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{label}{of} cannot be converted to an array: {error}") from error
    if array.dtype.hasobject:
        raise DataError(
            f"{label}{of} holds Python objects ({type(value).__name__}). Expected "
            "arrays of numbers, all samples of one shape."
        )
    return array


def _is_nest(value: Any) -> bool:
    """Whether a value is a nested structure; a list of numbers is one array."""
    if not isinstance(value, (tuple, list)):
        return False
    return not (value and all(np.isscalar(each) for each in value))


# Collating samples into a batch.


def _stack_samples(samples: list[Any], indices: Sequence[int], batch: str) -> Batch:
    """Collates samples, each `x`, `(x, y)` or `(x, y, sample_weight)`, into one batch."""
    columns = _stack_uniform(samples)
    return _stack_checked(samples, indices, batch) if columns is None else columns


def _stack_uniform(samples: list[Any]) -> Batch | None:
    """Collates samples of the same structure, shapes and dtypes, the fast path; else None."""
    if not _is_several(samples[0]):
        columns = [samples]
    elif {type(sample) for sample in samples} == {type(samples[0])} and (
        len({len(sample) for sample in samples}) == 1
    ):
        columns = list(map(list, zip(*samples, strict=True)))
    else:
        return None
    if not 1 <= len(columns) <= len(PARTS):
        return None
    stacked = [_stack_part(column) for column in columns]
    return None if any(part is None for part in stacked) else tuple(stacked)


def _stack_part(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        if not all(isinstance(v, Mapping) and v.keys() == first.keys() for v in values):
            return None
        parts = {key: _stack_part([value[key] for value in values]) for key in first}
        return None if any(part is None for part in parts.values()) else parts
    if _is_nest(first):
        if not all(_is_nest(value) and len(value) == len(first) for value in values):
            return None
        nest = tuple(_stack_part(list(column)) for column in zip(*values, strict=True))
        return None if any(part is None for part in nest) else nest
    if any(_is_nest(value) for value in values):
        return None
    try:
        arrays = [np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in values]
        same = len({array.dtype for array in arrays}) == 1 and not arrays[0].dtype.hasobject
        return np.stack(arrays) if same else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _stack_checked(samples: list[Any], indices: Sequence[int], batch: str) -> Batch:
    """Collates samples that differ, for example in their dtype.

    Raises:
        DataError: If structure or shapes differ; the message names the sample.
    """
    flat = [
        dict(_flat_sample(sample, f" of item {index} ({batch})"))
        for sample, index in zip(samples, indices, strict=True)
    ]
    first = flat[0]
    for arrays, index in zip(flat, indices, strict=True):
        if arrays.keys() != first.keys() or any(
            array.shape != first[label].shape for label, array in arrays.items()
        ):
            raise DataError(
                f"Expected all samples of {batch} to have the same parts and shapes. Item "
                f"{indices[0]} has {_shapes(first)}. Item {index} has {_shapes(arrays)}."
            )
    columns = {label: [arrays[label] for arrays in flat] for label in first}
    for label, column in columns.items():
        _check_types(label, column, indices, batch)
    return _rebuilt(samples[0], {label: np.stack(column) for label, column in columns.items()})


def _is_several(sample: Any) -> bool:
    """Whether a sample is a tuple of parts or a nested structure, not one array."""
    return (isinstance(sample, tuple) and 1 <= len(sample) <= len(PARTS)) or _is_nest(sample)


def _parts_of(sample: Any, of: str = "") -> list[tuple[str, Any]]:
    """The parts of a sample, under the labels that they have in messages."""
    if not _is_several(sample):
        return [(PARTS[0], sample)]
    parts = list(sample)
    while len(parts) > 1 and parts[-1] is None:
        parts.pop()
    if not 1 <= len(parts) <= len(PARTS):
        raise DataError(
            f"Expected the sample{of} to be x, (x, y) or (x, y, sample_weight). Received: a "
            f"{type(sample).__name__} of {len(parts)}."
        )
    return list(zip(PARTS, parts, strict=False))


def _flat_sample(sample: Any, of: str) -> Iterator[tuple[str, Array]]:
    if sample is None:
        raise DataError(f"The sample{of} is None. Is a return missing in __getitem__?")
    for label, part in _parts_of(sample, of):
        yield from _flat(part, label, of)


def _flat(part: Any, label: str, of: str) -> Iterator[tuple[str, Array]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            yield from _flat(value, f"{label}.{key}", of)
    elif _is_nest(part):
        for i, value in enumerate(part):
            yield from _flat(value, f"{label}.{i}", of)
    else:
        yield label, _array(part, label, of)


def _rebuilt(sample: Any, arrays: Mapping[str, Array]) -> Batch:
    """`arrays` in the structure of a sample, as a batch."""

    def rebuild(part: Any, label: str) -> Any:
        if isinstance(part, Mapping):
            return {key: rebuild(value, f"{label}.{key}") for key, value in part.items()}
        if _is_nest(part):
            return tuple(rebuild(value, f"{label}.{i}") for i, value in enumerate(part))
        return arrays[label]

    return tuple(rebuild(part, label) for label, part in _parts_of(sample))


def _shapes(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{label} {array.shape}" for label, array in arrays.items()) or "no array"


def _check_types(label: str, column: list[Array], indices: Sequence[int], batch: str) -> None:
    """Refuses dtypes without a common dtype of one of their kinds, such as text and numbers.

    Raises:
        DataError: If the dtypes cannot be combined.
    """
    dtypes = {array.dtype for array in column}
    if len(dtypes) == 1:
        return
    kinds = {dtype.kind for dtype in dtypes}
    common: str
    try:
        common = np.result_type(*dtypes).kind
    except TypeError:
        common = "none"
    if common not in kinds or (kinds & set("USmM") and len(kinds) > 1):
        first = column[0].dtype
        index, other = next(
            (i, array.dtype)
            for i, array in zip(indices, column, strict=True)
            if array.dtype.kind != first.kind
        )
        raise DataError(
            f"Expected {label} of all samples of {batch} to have compatible dtypes. Item "
            f"{indices[0]} has {first}, item {index} has {other}."
        )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
