"""`HDF5Matrix`, which Keras removed: rows of an HDF5 dataset, used like an array."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Set
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from headrace.dataset import Dataset
from headrace.errors import DataError, OptionError
from headrace.forks import run_in_each_process
from headrace.formats import rows_between, side_by_side
from headrace.loading import SourceRows, View
from headrace.pipeline import Pipeline
from headrace.sources.zipped import Member
from headrace.spec import Spec, Structure, leaves, map_structure

if TYPE_CHECKING:
    from headrace.sources.hdf5 import HDF5Source

Array = npt.NDArray[Any]

_STEP_BYTES = 1 << 20


class _Sources:
    """A cache of opened datasets: matrices of one dataset share its source."""

    def __init__(self) -> None:
        self._opened: WeakValueDictionary[tuple[str, str], HDF5Source] = WeakValueDictionary()
        run_in_each_process(self, _Sources._make_lock)

    def _make_lock(self) -> None:
        self._opening = threading.Lock()

    def get(self, datapath: str | os.PathLike[str], dataset: str) -> "HDF5Source":
        """The source of a dataset, which is opened again if the file has changed."""
        from headrace.sources.hdf5 import HDF5Source, path_of

        path = path_of(datapath)
        with self._opening:
            source = self._opened.get((path, dataset))
            if source is None or not source.is_current():
                source = self._opened[path, dataset] = HDF5Source(path, [dataset])
            return source


_sources = _Sources()


class HDF5Matrix:
    """Some rows of a dataset in an HDF5 file, for use in place of a NumPy array.

    The class has the arguments of `keras.utils.HDF5Matrix`, which Keras had until version 2.3.
    `fit`, `evaluate` and `predict` take it on every backend, also in lists and dicts together with
    other matrices or NumPy arrays, with `batch_size=`, `shuffle=` (`True` now shuffles all rows;
    `"batch"` shuffles batches of neighbours, as before), `class_weight=`, `sample_weight=`,
    `validation_data=` and `validation_split=`. Rows are read when a batch needs them, as
    `from_hdf5` reads them, and never all at once.

    Rows are indexed as in NumPy: by integers, slices with any step, lists and arrays of integers in
    any order (negative and repeated ones too), and boolean masks. Columns are indexed in the result
    (`matrix[rows][:, 0]`). A matrix may be used from many threads, and in other processes after a
    pickle or a fork.

    Args:
        datapath: The file.
        dataset: Name of a dataset in it.
        start: First row.
        end: Row before which to stop; None for the end of the dataset.
        normalizer: A function of the rows that were read (or of one sample if the index is an
            integer), whose result takes their place.

    Raises:
        HeadraceError: As `from_hdf5`, if the file or the dataset cannot be used.
        OptionError: If there are no rows between `start` and `end`, or the normalizer is not
            callable.

    Example:

    ```python
    x_train = hr.HDF5Matrix("cats.h5", "image", end=1200)
    y_train = hr.HDF5Matrix("cats.h5", "label", end=1200)
    x_test = hr.HDF5Matrix("cats.h5", "image", start=1200)
    y_test = hr.HDF5Matrix("cats.h5", "label", start=1200)
    model.fit(x_train, y_train, batch_size=32, validation_data=(x_test, y_test))
    ```
    """

    def __init__(
        self,
        datapath: str | os.PathLike[str],
        dataset: str,
        start: int = 0,
        end: int | None = None,
        normalizer: Callable[[Array], Any] | None = None,
    ) -> None:
        if normalizer is not None and not callable(normalizer):
            raise OptionError(f"Expected normalizer to be a function. Received: {normalizer!r}")
        if not isinstance(dataset, str):
            raise OptionError(f"Expected the name of a dataset. Received: {dataset!r}")
        self._source: HDF5Source | None = _sources.get(datapath, dataset)
        self._rows = rows_between(start, end, self._source.length)
        self.normalizer = normalizer
        view = View((SourceRows(self._source, self._rows),), (dataset,))
        self._data = Dataset(Pipeline(view, Spec(self._source.fields, dataset)))
        self._form: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        if normalizer is None:
            (field,) = self._source.fields
            self._form = (field.shape, field.dtype)

    @property
    def start(self) -> int:
        """First row."""
        return self._rows.start

    @property
    def end(self) -> int:
        """Row before which to stop."""
        return self._rows.stop

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        (field,) = self._data.spec.fields
        return f"<HDF5Matrix {field.name!r}, rows {self.start} to {self.end - 1}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and the shape of a sample after the normalizer."""
        return (len(self), *self._row_form[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype after the normalizer."""
        return self._row_form[1]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes that the array would take in memory."""
        return self.size * self.dtype.itemsize

    @property
    def _row_form(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if self._form is None:
            first = self[0:1]
            self._form = (first.shape[1:], first.dtype)
        return self._form

    def __getitem__(self, key: Any) -> Any:
        """Reads rows, as NumPy would for the same index; `[...]` and `[()]` read all.

        Raises:
            IndexError: If a row is out of range, or the index does not index rows.
            DataError: If the normalizer returns no array, or another number of rows.
            ValueError: If it was closed.
        """
        self._check_open()
        if key is Ellipsis or (isinstance(key, tuple) and not key):
            key = slice(None)
        if isinstance(key, tuple):
            raise IndexError(
                f"Expected rows as an index. Received: {key!r}. Read rows first, and index what "
                "comes of it: matrix[rows][:, columns]; several rows are a list, matrix[[0, 1]]."
            )
        if not isinstance(key, (slice, int, np.integer, np.ndarray, list)):
            if isinstance(key, (str, bytes, Set, Mapping)) or not hasattr(key, "__iter__"):
                raise IndexError(f"Expected rows as an index. Received: {key!r}")
            key = list(key)
        (values,) = self._data[key]
        if self.normalizer is None:
            return values
        single = isinstance(key, (int, np.integer))
        return _normalized(self.normalizer, values, None if single else len(values))

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if isinstance(other, (HDF5Matrix, np.ndarray, np.generic, int, float)):
            raise TypeError(
                f"{self!r} is compared with nothing by itself, since it may be larger than memory. "
                "Compare rows that were read: matrix[:] == value."
            )
        return NotImplemented

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Any]:
        """Iterates over rows, reading a megabyte at a time."""
        (field,) = self._data.spec.fields
        step = max(1, _STEP_BYTES // field.nbytes)
        for first in range(0, len(self), step):
            (values,) = self._data[first : first + step]
            if self.normalizer is None:
                yield from values
            else:
                yield from (_normalized(self.normalizer, value, None) for value in values)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{self!r} is not made an array by itself, since it may be larger than memory. "
            "Read it with matrix[:], or give it to fit(), evaluate() or predict()."
        )

    def files(self) -> tuple[str, ...]:
        """The files that it reads, as paths from the root."""
        return self._check_open().files()

    def close(self) -> None:
        """Closes the matrix: reading raises an error, but a running `fit` continues."""
        self._source = None

    def __enter__(self) -> "HDF5Matrix":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> "HDF5Source":
        if self._source is None:
            raise ValueError(f"{self!r} was closed.")
        return self._source

    def _member(self, name: str) -> Member:
        source = self._check_open()
        return Member(source, {name: source.fields[0].name}, self.start, self.end)


def has_matrix(*parts: Structure) -> bool:
    """Whether nests of arrays contain an `HDF5Matrix`."""
    return any(isinstance(leaf, HDF5Matrix) for part in parts for leaf in leaves(part))


def dataset_of(x: Structure, y: Structure, sample_weight: Structure) -> Dataset:
    """The data set of matrices and arrays; normalizers become map functions.

    Raises:
        ShapeError, OptionError, TypeNotSupportedError: As `from_arrays`.
    """
    from headrace.sources.arrays import array_source

    normalizers: dict[str, Callable[[Array], Any]] = {}

    def member(name: str, value: Any) -> Member:
        if not isinstance(value, HDF5Matrix):
            source = array_source(name, value)
            return Member(source, {name: source.fields[0].name})
        if value.normalizer is not None:
            normalizers[name] = value.normalizer
        return value._member(name)

    data = side_by_side((x, y, sample_weight), member)
    return data.map(_Normalize(data.spec.parts, normalizers)) if normalizers else data


def _normalized(normalizer: Callable[[Array], Any], values: Array, rows: int | None) -> Any:
    """The result of a normalizer for some rows, or for a single sample.

    Raises:
        DataError: If the result is no array, or has another number of rows.
    """
    name = getattr(normalizer, "__name__", repr(normalizer))
    made = normalizer(values)
    if made is None or isinstance(made, (tuple, Mapping)):
        raise DataError(
            f"Expected normalizer {name!r} to return an array. Received: a {type(made).__name__}."
        )
    if rows is None:
        return made
    array = np.asarray(made)
    if array.ndim == 0 or len(array) != rows:
        raise DataError(
            f"Expected normalizer {name!r} to keep the {rows} rows that it is given. It returned "
            f"an array of shape {array.shape}."
        )
    return array


class _Normalize:
    """Applies normalizers to the leaves of a batch."""

    def __init__(
        self, names: tuple[Structure, ...], normalizers: dict[str, Callable[[Array], Any]]
    ) -> None:
        self._names = names
        self._normalizers = normalizers
        self.__name__ = "normalizer"

    def __call__(self, *batch: Any) -> tuple[Any, ...]:
        found = dict(zip(leaves(self._names), leaves(batch), strict=True))
        for name, normalizer in self._normalizers.items():
            found[name] = _normalized(normalizer, found[name], len(found[name]))
        return tuple(map_structure(found.__getitem__, names) for names in self._names)
