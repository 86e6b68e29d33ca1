"""The object that a user holds: rows of a source, their structure, and what is done to batches."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import OptionError, ShapeError, check_integer
from penstock.loading import Batch, Loader, View
from penstock.resources import check_memory
from penstock.spec import Indices, Spec, map_structure
from penstock.transform import MapFn, MapStep, finish, spec_of, with_class_weight

Array = npt.NDArray[Any]

_POSITION_BYTES = 32
"""Bytes a row for its number, and for finding rows that are asked for twice or out of order."""

new_loader: Callable[..., Loader] = Loader
"""Makes loaders; `penstock.keras` puts in a class that Keras knows as one of its own."""


@dataclass(frozen=True)
class Dataset:
    """Samples that are read when they are needed.

    Made by `from_hdf5` and the like. Behaves as NumPy arrays do: `len(data)`, `data[0]`,
    `data[-1]`, `data[10:20]`, `data[::-2]`, `data[[7, 3, 3]]`, `data[mask]` read just those rows,
    in that order, and give `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

    Example:

    ```python
    import penstock as ps

    data = ps.from_hdf5("cats.h5", x="image", y="label")
    x, y = data[:100]
    train, val = data.split(0.8, seed=0)
    model.fit(train.batch(32, shuffle=True), validation_data=val.batch(256))
    ```
    """

    _view: View
    _structure: Spec
    _maps: tuple[MapStep, ...] = ()

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        fields = ", ".join(str(field) for field in self._structure.fields)
        maps = ", mapped" if self._maps else ""
        return f"<Dataset of {len(self):,} samples: {fields}{maps}>"

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory, before `map`."""
        return len(self) * self._view.row_bytes

    @cached_property
    def spec(self) -> Spec:
        """The fields of a sample and their places in a batch.

        After `map`, one row is read and mapped to see what comes out; its fields are
        named "x", "y" and "sample_weight", with a number or key added inside a structure.
        """
        if not self._maps:
            return self._structure
        if not len(self):
            raise ShapeError("The data set has no rows, so what map() makes of them is not known.")
        return spec_of(self[0:1])

    def __getitem__(self, index: Any) -> Batch:
        """Reads rows.

        Args:
            index: An integer, a slice, a sequence or array of integers, or a boolean
                mask of shape `(len,)`.

        Returns:
            `(x,)`, `(x, y)` or `(x, y, sample_weight)`. For an integer each leaf is one
            sample, else an array whose first axis runs over the rows asked for.

        Raises:
            IndexError: If a row is out of range or the index is of another kind.
            MemoryBudgetError: If the rows are more than this process may hold.
        """
        if isinstance(index, slice):
            self._check_fits(len(range(*index.indices(len(self)))))
        positions, single = _positions(index, len(self))
        self._check_fits(len(positions))
        names = [field.name for field in self._structure.fields]
        if len(positions):
            arrays = dict(self._view.read_any(positions, names)[0])
        else:
            fields = self._structure.fields
            arrays = {f.name: np.empty((0, *f.shape), f.dtype) for f in fields}
        batch = self._finish(arrays)
        return map_structure(lambda array: array[0], batch) if single else batch

    @cached_property
    def _scratch(self) -> int:
        return self._view.scratch([field.name for field in self._structure.fields])

    def _check_fits(self, rows: int) -> None:
        check_memory(
            rows * (self._view.row_bytes + _POSITION_BYTES) + self._scratch,
            f"Reading {rows} rows at once",
            "Read fewer, or use batch().",
        )

    def _finish(self, arrays: Mapping[str, Array]) -> Batch:
        return finish(self._structure, self._maps, arrays)

    def split(
        self, *sizes: float | Sequence[float], seed: int | None = None
    ) -> tuple["Dataset", ...]:
        """Cuts the data set into parts that share no row and together hold every row.

        Args:
            *sizes: Shares between 0 and 1, or numbers of rows. What they leave over
                makes one more part: `split(0.8)` and `split(0.7, 0.1)` give two and three.
                Every part gets at least one row where there are enough.
            seed: Draws the rows at random, the same for the same seed; rows keep their order
                within a part. Without it the first rows make the first part.

        Returns:
            A tuple of data sets.

        Raises:
            OptionError: If the sizes are not shares, not counts, or too many.
            MemoryBudgetError: If there are more rows than this process could mark.

        Example:

        ```python
        train, val = data.split(0.8, seed=0)
        train, val, test = data.split(0.7, 0.15, 0.15)
        val, train = data.split(1000)
        ```
        """
        edges = _split_edges(sizes, len(self))
        if seed is None:
            views = [self._view.part(a, b) for a, b in itertools.pairwise(edges)]
        else:
            check_integer("seed", seed, 0, or_none=True)
            what = f"Choosing from {len(self)} rows at random"
            check_memory(2 * len(self), what, "Split without seed=, or fewer rows.")
            views = self._view.random_parts(edges, seed)
        return tuple(Dataset(view, self._structure, self._maps) for view in views)

    def take(self, n: int) -> "Dataset":
        """The first `n` rows; all, if there are fewer.

        Raises:
            OptionError: If `n` is negative.
        """
        check_integer("n of take()", n, 0)
        return self.part(0, min(n, len(self)))

    def part(self, start: int, stop: int) -> "Dataset":
        """The rows `start .. stop - 1`."""
        return replace(self, _view=self._view.part(start, stop))

    def only(self, *names: str) -> "Dataset":
        """The same rows with `names` alone as x: to look at labels without reading images.

        Raises:
            OptionError: If the data set has no such field, or was mapped.
        """
        if self._maps:
            raise OptionError("only() comes before map(): a mapped data set has other fields.")
        if not names:
            raise OptionError("Expected only() with at least one name.")
        for name in names:
            if name not in self._structure:
                raise OptionError(
                    f"There is no field {name!r}. There are: {', '.join(self._structure)}"
                )
        fields = tuple(self._structure[name] for name in dict.fromkeys(names))
        view = replace(self._view, names=tuple(field.name for field in fields))
        return Dataset(view, Spec(fields, names[0] if len(names) == 1 else names))

    def map(self, fn: MapFn) -> "Dataset":
        """Changes batches on their way: `fn` runs in the worker threads.

        Args:
            fn: Called with the parts of a batch, `fn(x)`, `fn(x, y)` or
                `fn(x, y, sample_weight)`, as NumPy arrays (or tuples and dicts of them) whose first
                axis runs over samples. A function of one argument gets the tuple `(x, y)` of
                a batch with several parts. Returns the new `(x,)`, `(x, y)` or
                `(x, y, sample_weight)`; anything but a tuple is a new x alone. Must keep the number
                of rows. May be called from several threads at a time.

        Example:

        ```python
        data = data.map(lambda x, y: (x.astype("float32") / 255, y))
        ```
        """
        if not callable(fn):
            raise OptionError(f"Expected map() with a function. Received: {fn!r}")
        return Dataset(self._view, self._structure, (*self._maps, MapStep(fn)))

    def batch(
        self,
        batch_size: int = 32,
        *,
        shuffle: bool | str = False,
        seed: int | None = None,
        drop_remainder: bool = False,
        memory: int | str | None = None,
        workers: int | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Loader:
        """Batches for `model.fit`, `evaluate` and `predict`, or for a loop of your own.

        Args:
            batch_size: Rows in a batch.
            shuffle: `True` takes the best order that the layout of the data allows at full
                speed: a uniform permutation where single rows can be read or everything
                fits `memory`, else random blocks mixed in windows (runs of 64 KiB for small rows of
                data that are larger than this machine's memory). `"exact"` asks for
                the uniform permutation at any price, `"batch"` keeps neighbouring rows together
                and hands out batches in random order, `False` keeps row order.
            seed: The order is a function of it and of the epoch's number alone. None draws one.
            drop_remainder: Leaves out a last batch that is smaller than the others.
            memory: Bytes for everything that holds samples, such as `"256MB"`. None takes
                a quarter of what the process may use, 2 GiB at most. The windows, and
                with them the order, depend on it.
            workers: Threads. None takes the CPUs that the process may use.
            class_weight: Weight for each class number in y; becomes `sample_weight`.

        Returns:
            A `Loader`.

        Raises:
            OptionError: If an argument cannot be honoured.
            MemoryBudgetError: If `memory` is too small; says the least that works.

        Example:

        ```python
        loader = train.batch(32, shuffle=True, seed=0, memory="256MB")
        for x, y in loader:
            ...
        ```
        """
        if not len(self):
            raise OptionError("The data set has no rows, so there is nothing to batch.")
        finished: Callable[[Mapping[str, Array]], Batch] = partial(
            finish, self._structure, self._maps
        )
        if class_weight is not None:
            finished = with_class_weight(finished, class_weight)
        loader = new_loader(
            self._view,
            finished,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            memory=memory,
            workers=workers,
        )
        for advice in loader.advice():
            warnings.warn(advice, stacklevel=2)
        return loader


def concat(*data: Dataset) -> Dataset:
    """One data set after the other.

    Args:
        *data: Data sets of equal fields, structure and map functions.

    Raises:
        OptionError: If they differ; says in what.

    Example:

    ```python
    data = ps.concat(ps.from_hdf5("2023.h5", x="image"), ps.from_hdf5("2024.h5", x="image"))
    ```
    """
    if not data:
        raise OptionError("Expected at least one data set to concatenate.")
    for other in data:
        if not isinstance(other, Dataset):
            raise OptionError(f"Expected data sets to concatenate. Received: {other!r}")
    first = data[0]
    for other in data[1:]:
        if other._structure != first._structure:
            raise OptionError(
                f"Expected data sets of equal fields. Received: {first!r} and {other!r}"
            )
        if other._maps != first._maps:
            raise OptionError(
                "The data sets have different map functions. Concatenate them first, then map()."
            )
    parts = tuple(part for d in data for part in d._view.parts if len(part.selection))
    mixed = all(d._view.mixed for d in data)
    view = replace(first._view, parts=parts or first._view.parts, mixed=mixed)
    return Dataset(view, first._structure, first._maps)


def _positions(index: Any, n: int) -> tuple[Indices, bool]:
    """The rows that NumPy would take for `index`, and whether it names a single one."""
    if isinstance(index, slice):
        return np.arange(*index.indices(n)), False
    if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
        if not -n <= index < n:
            raise IndexError(f"row {index} is out of range for {n} rows")
        return np.array([index % n], np.int64), True
    array = np.asarray(index)
    if isinstance(index, tuple) or array.ndim != 1:
        raise IndexError(
            "Expected an integer, a slice, a list or array of integers, or a boolean mask. "
            f"Received: {index!r}"
        )
    if array.dtype == bool:
        if len(array) != n:
            raise IndexError(f"The mask has {len(array)} values for {n} rows")
        return np.flatnonzero(array), False
    if len(array) == 0:
        return np.empty(0, np.int64), False
    if array.dtype.kind not in "iu":
        raise IndexError(f"Expected integers as row numbers. Received: {array.dtype}")
    outside = array[(array < -n) | (array >= n)]
    if len(outside):
        raise IndexError(f"row {outside[0]} is out of range for {n} rows")
    array = array.astype(np.int64)
    return np.where(array < 0, array + n, array), False


def _split_edges(sizes: Sequence[Any], n: int) -> list[int]:
    """Where the parts start, and `n`."""
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = sizes[0]
    if not sizes or any(isinstance(size, bool) for size in sizes):
        raise OptionError(f"Expected split() with shares or numbers of rows. Received: {sizes}")
    if all(isinstance(size, (int, np.integer)) for size in sizes):
        edges = np.cumsum([0, *sizes]).tolist()
        if min(sizes) < 0 or edges[-1] > n:
            raise OptionError(
                f"Expected numbers of rows that add up to at most {n}. Received: {list(sizes)}"
            )
        return edges if edges[-1] == n else [*edges, n]
    if not all(isinstance(size, (float, np.floating)) and 0 < size < 1 for size in sizes):
        raise OptionError(
            "Expected shares between 0 and 1, or numbers of rows, not both. "
            f"Received: {list(sizes)}"
        )
    total = math.fsum(sizes)
    if total > 1 + 1e-9:
        raise OptionError(f"The shares {list(sizes)} add up to {total}, more than 1.")
    whole = total > 1 - 1e-9
    count = len(sizes) + (not whole)
    inner = [math.floor(share * n + 0.5) for share in np.cumsum(sizes)[: count - 1].tolist()]
    if n >= count:
        for i, edge in enumerate(inner):
            before = inner[i - 1] if i else 0
            inner[i] = min(max(edge, before + 1), n - (count - 1 - i))
    return [0, *inner, n]
