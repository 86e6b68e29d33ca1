"""`Dataset`, the public object for samples on disk."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy.typing as npt

from headrace import splits
from headrace.errors import OptionError, ShapeError, check_integer, did_you_mean, some_of
from headrace.loading import Batch, Loader
from headrace.loading.advice import advice_on
from headrace.loading.timeouts import DEFAULT_TIMEOUT
from headrace.order.indexing import positions_of
from headrace.pipeline import Pipeline
from headrace.resources import check_memory, format_bytes
from headrace.spec import Spec, map_structure, short_list
from headrace.transform import Collate, MapFn, MapStep, spec_of, with_class_weight

Array = npt.NDArray[Any]

_POSITION_BYTES = 32
"""Bytes for each row of an index: its number, and sorting and deduplication of the numbers."""

new_loader: Callable[..., Loader] = Loader
"""Makes loaders; `headrace.keras` replaces it by a subclass that is also a `PyDataset`."""


@dataclass(frozen=True)
class Dataset:
    """Samples that are read from files when they are needed.

    Created by `open`, `from_hdf5`, `from_arrays` and `concat`. Indexing works as for NumPy arrays:
    `data[0]`, `data[-1]`, `data[10:20]`, `data[::-2]`, `data[[7, 3, 3]]` and `data[mask]` read
    only those rows, in that order, and return `(x,)`, `(x, y)` or `(x, y, sample_weight)`.
    `len(data)` is the number of samples.

    Example:

    ```python
    import headrace as hr

    data = hr.from_hdf5("cats.h5", x="image", y="label")
    x, y = data[:100]
    train, val = data.split(0.8, seed=0)
    model.fit(train.batch(32, shuffle=True), validation_data=val.batch(256))
    ```
    """

    pipeline: Pipeline
    """The parts of the data set, for other modules of this package."""

    def __len__(self) -> int:
        return len(self.pipeline)

    def _with(self, **changes: Any) -> "Dataset":
        """A copy with some parts of its pipeline replaced."""
        return Dataset(replace(self.pipeline, **changes))

    def __repr__(self) -> str:
        fields = short_list(self.pipeline.fields)
        return f"<Dataset of {self._summary}: {fields}{self._suffix}>"

    @property
    def _summary(self) -> str:
        return f"{len(self):,} sample{'s' * (len(self) != 1)}"

    @property
    def _suffix(self) -> str:
        return ", mapped" * bool(self.pipeline.maps) + ", balanced" * bool(self.pipeline.sampler)

    def _repr_html_(self) -> str:
        caption = f"Dataset of {self._summary}, {format_bytes(self.nbytes)} in memory{self._suffix}"
        before = ", before map()" * bool(self.pipeline.maps)
        return self.pipeline.structure.to_html(caption + before)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory, before `map`."""
        return len(self) * self.pipeline.view.row_bytes

    @cached_property
    def spec(self) -> Spec:
        """The fields of a sample and their places in a batch.

        After `map`, one row is read and mapped to find out the shapes and dtypes. The fields are
        then named "x", "y" and "sample_weight", with a number or key appended inside a structure,
        as in "x.0".
        """
        if not self.pipeline.maps:
            return self.pipeline.structure
        if not len(self):
            raise ShapeError("The data set has no rows, so the fields after map() are unknown.")
        return spec_of(self._with(sampler=None)[0:1])

    def __getitem__(self, index: Any) -> Batch:
        """Reads rows.

        Args:
            index: An integer, a slice, a sequence or array of integers, or a boolean
                mask of shape `(len,)`.

        Returns:
            `(x,)`, `(x, y)` or `(x, y, sample_weight)`. For an integer each leaf is one
            sample, else an array whose first axis runs over the indexed rows.

        Raises:
            IndexError: If a row is out of range or the index has another type.
            MemoryBudgetError: If the rows need more memory than this process may use.
            OptionError: If the data set is balanced.
        """
        self.check_each_once("indexing")
        if isinstance(index, slice):
            self._check_fits(len(range(*index.indices(len(self)))))
        positions, single = positions_of(index, len(self))
        self._check_fits(len(positions))
        batch = self.pipeline.collate(self.pipeline.read(positions))
        return map_structure(lambda array: array[0], batch) if single else batch

    @cached_property
    def _scratch(self) -> int:
        return self.pipeline.view.scratch([field.name for field in self.pipeline.structure.fields])

    def _check_fits(self, rows: int) -> None:
        check_memory(
            rows * (self.pipeline.view.row_bytes + _POSITION_BYTES) + self._scratch,
            f"Reading {rows} rows at once",
            "Read fewer, or use batch().",
        )

    @overload
    def split(self, *, by: str | npt.ArrayLike) -> dict[Any, "Dataset"]: ...

    @overload
    def split(self, *, at: Any, on: str | npt.ArrayLike) -> tuple["Dataset", ...]: ...

    @overload
    def split(
        self,
        first: float | str | Sequence[float],
        /,
        *sizes: float | str,
        seed: int | None = None,
        stratify: str | npt.ArrayLike | None = None,
        by: str | npt.ArrayLike | None = None,
    ) -> tuple["Dataset", ...]: ...

    def split(
        self,
        *sizes: Any,
        seed: int | None = None,
        stratify: Any = None,
        by: Any = None,
        at: Any = None,
        on: Any = None,
    ) -> Any:
        """Splits the data set into disjoint parts that together contain every row.

        Rows keep their order within a part. The field that decides (`stratify` or `by`) is read
        in pieces of 32 MB. Each part takes at most two bits of memory for each row of the files,
        and all parts together at most four bytes a row (eight beyond 4 billion rows): for 100
        million rows, two parts take 50 MB, and a thousand parts 400 MB.

        Args:
            *sizes: Shares between 0 and 1, or numbers of rows. The remaining rows form one more
                part: `split(0.8)` gives two parts and `split(0.7, 0.1)` three. If there are enough
                rows, every part gets at least one, except with `by`. With `by`, sizes may also
                be the names of parts.
            seed: Assigns the rows at random, in the same way for the same seed. Without a seed the
                first rows form the first part; with `stratify`, the first rows of each class. With
                `by`, no seed means 0.
            stratify: A field of classes, or an array with a class for each row. Each part gets its
                share of each class, with an error below one row. Classes are numbers, text, or
                one-hot rows; 65,536 at most.
            by: A field of keys, or an array with a key for each row. All rows with the same key go
                to the same part. With shares, only a hash of the key's value and `seed` decides,
                so a key stays in its part when rows are added, moved or stored with another
                dtype; parts get about their shares of the keys, and may be empty. With names or
                without sizes, the keys are the names of the parts; 1,000 at most.
            at: With `on`, in place of all others: a date, a number or text, or several in ascending
                order. Rows whose value is below the first one form the first part; a row with just
                that value is in the second part. So the past trains, and the future validates.
            on: A field, or an array with a value for each row, that is compared with `at`.

        The fields need not be among x, y and sample_weight. Their values are those in the files,
        before `map`. NaN is not allowed as a class or key.

        Returns:
            A tuple of data sets; with `by` and no sizes, a dict from part name to data set, sorted
            by name.

        Raises:
            OptionError: If the sizes are neither shares nor counts, or add up to too many; with
                `by`, if sizes are counts, or do not name all parts; if there are too many classes
                or names.
            FieldNotFoundError: If there is no such field.
            DataError: If a class or key is NaN. Its subclasses ShapeError and
                TypeNotSupportedError, if a class or key is not a single number or text.
            MemoryBudgetError: If the parts need more memory than this process may use.

        Example:

        ```python
        train, val = data.split(0.8, seed=0)
        train, val, test = data.split(0.7, 0.15, 0.15)
        val, train = data.split(1000)
        train, val = data.split(0.8, seed=0, stratify="label")
        train, val = data.split(0.8, by="user_id")
        train, val = data.split("train", "val", by="part")
        folds = data.split(by="fold")      # {0: ..., 1: ..., 2: ...}
        young, old = data.split(at=30, on="meta/age")
        ```
        """
        self.check_each_once("split()")
        made = splits.split(
            self.pipeline.view, sizes, seed=seed, stratify=stratify, by=by, at=at, on=on
        )
        if isinstance(made, dict):
            return {name: self._with(view=view) for name, view in made.items()}
        return tuple(self._with(view=view) for view in made)

    def filter(self, keep: Any, *fields: Any) -> "Dataset":
        """Keeps the rows for which a function returns True, in their order.

        This call reads the fields that the function takes, and no others, in pieces of 32 MB. The
        result takes as much memory as a part of `split`, and may have no rows.

        Args:
            keep: Called repeatedly with arrays of shape `(k, *field.shape)` for the next `k` rows.
                Returns a boolean array of shape `(k,)`. May also be a boolean array with a value
                for each row, instead of a function.
            *fields: Names of fields, or arrays with a value for each row; the arguments of `keep`.
                If none are given, the names of the function's parameters are used. The fields need
                not be among x, y and sample_weight. Their values are those in the files, before
                `map`.

        Raises:
            OptionError: If `keep` is neither a function nor an array, or its fields are unknown.
            FieldNotFoundError: If there is no such field.
            DataError: If the function does not return a boolean array of that shape.

        Example:

        ```python
        few = data.filter(lambda label: label < 5)
        adults = data.filter(lambda age: age >= 18, "meta/age")
        ```
        """
        self.check_each_once("filter()")
        return self._with(view=splits.filtered(self.pipeline.view, keep, fields))

    def balance(
        self,
        by: Any,
        *,
        weights: Mapping[Any, float] | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> "Dataset":
        """Samples each class with a given share, whatever its number of rows.

        An epoch has exactly `length` samples, and each class has exactly its share of them
        (rounded by largest remainders). Each class has a fixed permutation of its rows that is
        consumed cyclically over the epochs. Counts within a class therefore differ by at most one,
        in each epoch and over all epochs together, and rows that one epoch leaves out come in the
        next epochs. The rows of an epoch depend only on `seed` and the epoch's number.
        `batch(shuffle=False)`, `evaluate` and `predict` use row order, and repeat a row
        immediately; `evaluate` and `predict` use the samples of epoch 0.

        Call `split`, `filter` and `take` before `balance`, and balance only the training part:
        parts of a balanced data set would share rows. Balancing takes five or six bytes of memory
        a row in addition to `memory=`, and at most 10 (18 beyond 4 billion rows) if one data set
        is batched both shuffled by single rows and in another order.

        Args:
            by: A field of classes, or an array with a class for each row: numbers, text, or
                one-hot rows; 65,536 at most. As in `split`, the field need not be among x, y and
                sample_weight.
            weights: The share of each class, in any unit; 0 leaves a class out. None means equal
                shares.
            length: Number of samples in an epoch; None for the number of rows.
            seed: Seed of the permutations.

        Raises:
            OptionError: If `weights` does not name exactly the classes of the data, or a class has
                a weight above 0 but a share below one sample.
            FieldNotFoundError, DataError, ShapeError, TypeNotSupportedError: As in `split`.

        Example:

        ```python
        train, val = data.split(0.8, seed=0, stratify="label")
        model.fit(train.balance("label").batch(32, shuffle=True), validation_data=val.batch(32))
        rare = train.balance("label", weights={0: 0.9, 1: 0.1}, length=1000)
        ```
        """
        self.check_each_once("balance()")
        sampler = splits.balanced(self.pipeline.view, by, weights=weights, length=length, seed=seed)
        return self._with(sampler=sampler)

    def check_each_once(self, what: str) -> None:
        """Checks that the data set is not balanced, since the operation `what` works on rows.

        Raises:
            OptionError: If the data set is balanced.
        """
        if self.pipeline.sampler is not None:
            raise OptionError(
                f"{what} must come before balance(): a balanced data set has no fixed rows, since "
                "an epoch repeats some rows and leaves out others. Only map() and batch() work on "
                "it."
            )

    def take(self, n: int) -> "Dataset":
        """The first `n` rows, or all rows if there are fewer.

        Raises:
            OptionError: If `n` is negative, or the data set is balanced.
        """
        check_integer("n of take()", n, 0)
        return self.part(0, min(n, len(self)))

    def part(self, start: int, stop: int) -> "Dataset":
        """The rows from `start` to `stop - 1`."""
        self.check_each_once("take()")
        return self._with(view=self.pipeline.view.part(start, stop))

    def only(self, *names: str) -> "Dataset":
        """The same rows with only the fields `names` as x, to read labels without images, say.

        Raises:
            OptionError: If the data set has no such field, or was mapped.
        """
        if self.pipeline.maps:
            raise OptionError("only() must come before map(), which changes the fields.")
        if not names:
            raise OptionError("Expected only() with at least one name.")
        for name in names:
            if name not in self.pipeline.structure:
                raise OptionError(
                    f"There is no field {name!r}.{did_you_mean(name, self.pipeline.structure)} "
                    f"The data set has: {some_of(list(self.pipeline.structure))}"
                )
        fields = tuple(self.pipeline.structure[name] for name in dict.fromkeys(names))
        view = replace(self.pipeline.view, names=tuple(field.name for field in fields))
        structure = Spec(fields, names[0] if len(names) == 1 else names)
        return self._with(view=view, structure=structure)

    def map(self, fn: MapFn) -> "Dataset":
        """Applies a function to each batch, in the worker threads.

        Args:
            fn: Called with the parts of a batch, `fn(x)`, `fn(x, y)` or
                `fn(x, y, sample_weight)`, as NumPy arrays (or tuples and dicts of them) whose first
                axis runs over samples. If the batch has several parts and the function takes one
                argument, it gets a tuple of the parts. Returns the new `(x,)`, `(x, y)` or
                `(x, y, sample_weight)`; a value that is not a tuple is the new x. The number of
                rows must stay the same. Several threads may call the function at the same time.

        Raises:
            OptionError: If `fn` cannot be called.

        Example:

        ```python
        data = data.map(lambda x, y: (x.astype("float32") / 255, y))
        ```
        """
        if not callable(fn):
            raise OptionError(f"Expected map() with a function. Received: {fn!r}")
        return self._with(maps=(*self.pipeline.maps, MapStep(fn)))

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
        timeout: float | None = DEFAULT_TIMEOUT,
        on_error: str = "raise",
        max_bad: float = 0.01,
    ) -> Loader:
        """Batches for `model.fit`, `evaluate` and `predict`, or for a `for` loop.

        Args:
            batch_size: Rows in a batch.
            shuffle: `True` takes the best order that the layout of the data allows at full
                speed: a uniform permutation if single rows can be read or all data
                fit in `memory`, else random blocks mixed in windows (runs of 64 KiB for small rows
                of data that are larger than this machine's memory). `"exact"` gives
                a uniform permutation even if reading it is slow, `"batch"` keeps neighbouring rows
                together and gives batches in random order, `False` keeps row order.
            seed: The order is a function of the seed and the epoch's number only. None draws one.
            drop_remainder: Leaves out a last batch that is smaller than the others.
            memory: Budget in bytes for all buffers of samples, also as text such as `"256MB"`.
                None takes a quarter of the memory that the process may use, 2 GiB at most. The
                sizes of the windows, and so the order, depend on it.
            workers: Number of threads. None uses as many as the CPUs that the process may use.
            class_weight: Weight for each class number in y; becomes `sample_weight`.
            timeout: Seconds that making one batch, map functions included, or one read for it may
                take (1800 if not given); None for no limit. After that time the loop raises an
                error that shows where the code hangs, and does not wait for its thread.
            on_error: How to handle a sample that its source cannot read. "raise" raises the
                source's error from the loop. "skip" replaces the sample by another one, so that
                batches keep their size; the choice depends only on (seed, epoch, row). This also
                applies in row order (`predict`, `evaluate`, `shuffle=False`). `report()` counts
                and lists the replaced rows.
            max_bad: The share of the rows that "skip" may replace; more are an error.

        Returns:
            A `Loader`.

        Raises:
            OptionError: If an argument cannot be honoured.
            MemoryBudgetError: If `memory` is too small (the message says how much is enough), or
                the loader would need more memory than this process may use.
            BadSampleError: From the loop, for a sample that cannot be read.
            BatchTimeoutError: From the loop, after `timeout`. A note shows the stack of the code
                that hangs.

        Example:

        ```python
        loader = train.batch(32, shuffle=True, seed=0, memory="256MB")
        for x, y in loader:
            ...
        ```
        """
        if not len(self):
            raise OptionError("The data set has no rows, so there is nothing to batch.")
        pipeline = self.pipeline
        finished: Callable[[Mapping[str, Array]], Batch]
        finished = Collate(pipeline.structure, pipeline.maps)
        if class_weight is not None:
            finished = with_class_weight(finished, class_weight)
        loader = new_loader(
            self.pipeline.view,
            finished,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            memory=memory,
            workers=workers,
            sampler=self.pipeline.sampler,
            timeout=timeout,
            on_error=on_error,
            max_bad=max_bad,
        )
        loader.check_memory()
        for advice in advice_on(loader):
            warnings.warn(advice, stacklevel=2)
        return loader
