"""`Dataset`, the object that a user holds."""

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
"""Bytes a row for its number, and for finding rows that are asked for twice or out of order."""

new_loader: Callable[..., Loader] = Loader
"""Makes loaders; `headrace.keras` puts in a class that Keras knows as one of its own."""


@dataclass(frozen=True)
class Dataset:
    """Samples that are read when they are needed.

    Made by `from_hdf5` and the like. Behaves as NumPy arrays do: `len(data)`, `data[0]`,
    `data[-1]`, `data[10:20]`, `data[::-2]`, `data[[7, 3, 3]]`, `data[mask]` read just those rows,
    in that order, and give `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

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
    """What it is made of: for the code of this package."""

    def __len__(self) -> int:
        return len(self.pipeline)

    def _with(self, **changes: Any) -> "Dataset":
        """The same with other parts of its pipeline."""
        return Dataset(replace(self.pipeline, **changes))

    def __repr__(self) -> str:
        fields = short_list(self.pipeline.fields)
        return f"<Dataset of {self._summary}: {fields}{self._done}>"

    @property
    def _summary(self) -> str:
        return f"{len(self):,} sample{'s' * (len(self) != 1)}"

    @property
    def _done(self) -> str:
        return ", mapped" * bool(self.pipeline.maps) + ", balanced" * bool(self.pipeline.sampler)

    def _repr_html_(self) -> str:
        caption = f"Dataset of {self._summary}, {format_bytes(self.nbytes)} in memory{self._done}"
        before = ", before map()" * bool(self.pipeline.maps)
        return self.pipeline.structure.to_html(caption + before)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory, before `map`."""
        return len(self) * self.pipeline.view.row_bytes

    @cached_property
    def spec(self) -> Spec:
        """The fields of a sample and their places in a batch.

        After `map`, one row is read and mapped to see what comes out; its fields are
        named "x", "y" and "sample_weight", with a number or key added inside a structure.
        """
        if not self.pipeline.maps:
            return self.pipeline.structure
        if not len(self):
            raise ShapeError("The data set has no rows, so what map() makes of them is not known.")
        return spec_of(self._with(sampler=None)[0:1])

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
        self, *sizes: Any, seed: int | None = None, stratify: Any = None, by: Any = None
    ) -> Any:
        """Cuts the data set into parts that share no row and together hold every row.

        Rows keep their order within a part. Of the field that decides, 32 MB are in memory
        at a time. Each part costs at most two bits for each row of the files, and all
        together at most four bytes (eight beyond 4 billion rows): of 100 million rows, two
        parts take 50 MB, and a thousand 400 MB.

        Args:
            *sizes: Shares between 0 and 1, or numbers of rows. What they leave over
                makes one more part: `split(0.8)` and `split(0.7, 0.1)` give two and three.
                Every part gets at least one row where there are enough, unless `by` says
                otherwise. Beside `by`, also the names of parts.
            seed: Draws the rows at random, the same for the same seed. Without it the first rows
                make the first part; with `stratify` those of each class, and with `by` it is 0.
            stratify: A field of classes, or an array with a class for each row. Each part gets its
                share of each class, to less than one row. Classes are numbers, text, or
                one-hot rows; 65,536 at most.
            by: A field of keys, or an array of them: all rows of a key go to one part. Beside
                shares, the hash of the key's value and of `seed` alone decides: a key stays on
                its side when rows are added, moved, or stored in another type, so that parts have
                about their shares of the keys, and may be empty. Beside names, or
                nothing, the values are the names of the parts; 1,000 at most.

        The fields need not be among x, y and sample_weight, and come as in the files, before
        `map`. NaN is neither a class nor a key.

        Returns:
            A tuple of data sets; with `by` alone a dict of them, by sorted names.

        Raises:
            OptionError: If the sizes are not shares, not counts, or too many; beside `by`, if they
                are counts, or not the names of all parts; if there are too many classes or names.
            FieldNotFoundError: If there is no such field.
            DataError: If a class or key is NaN; ShapeError and TypeNotSupportedError if it is no
                single number or text.
            MemoryBudgetError: If there are more rows than this process could mark.

        Example:

        ```python
        train, val = data.split(0.8, seed=0)
        train, val, test = data.split(0.7, 0.15, 0.15)
        val, train = data.split(1000)
        train, val = data.split(0.8, seed=0, stratify="label")
        train, val = data.split(0.8, by="user_id")
        train, val = data.split("train", "val", by="part")
        folds = data.split(by="fold")      # {0: ..., 1: ..., 2: ...}
        ```
        """
        self.check_each_once("split()")
        made = splits.split(self.pipeline.view, sizes, seed=seed, stratify=stratify, by=by)
        if isinstance(made, dict):
            return {name: self._with(view=view) for name, view in made.items()}
        return tuple(self._with(view=view) for view in made)

    def filter(self, keep: Any, *fields: Any) -> "Dataset":
        """The rows that a function of small fields keeps, in their order.

        Only the fields that it names are read, now and once, 32 MB at a time. The rows
        kept cost what a part of a split does. There may be none.

        Args:
            keep: Called with arrays of shape `(k, *field.shape)` for the next `k` rows, and the
                next; returns a boolean array of shape `(k,)`. Or such an array for all rows.
            *fields: Names of fields, or arrays with a value for each row. Without them, the names
                of the function's parameters. They need not be among x, y and sample_weight, and
                come as in the files, before `map`.

        Raises:
            OptionError: If it is no function, or does not say which fields it takes.
            FieldNotFoundError: If there is no such field.
            DataError: If what it returns is no boolean array of that shape.

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
        """Samples of each class in given shares, however many rows it has.

        An epoch has exactly `length` samples, and of each class exactly its share (the largest
        remainders are rounded up). The rows of a class take turns: in one epoch none comes
        more than once more often than another, and neither over all epochs together, so that
        what is left out of one epoch comes in the next ones. Which rows an epoch has depends on
        `seed` and its number alone. `batch(shuffle=False)`, `evaluate` and `predict` go in row
        order, with the samples of a row together; the last two with those of epoch 0.

        Split, filter and take first, then balance the part to train on: other parts would have
        the same rows. Costs five or six bytes a row, beside `memory=`; 10 at most (18 beyond
        4 billion rows), where batches come both shuffled by single rows and in another way.

        Args:
            by: A field of classes, or an array with a class for each row: numbers, text, or
                one-hot rows; 65,536 at most. As in `split`, it need not be among the fields.
            weights: The share of each class, in any unit; 0 leaves one out. None stands for
                equal shares.
            length: Samples in an epoch; None for as many as there are rows.
            seed: Of the turns that rows take.

        Raises:
            OptionError: If `weights` does not name all classes and no others, or a class has
                a weight but too small a share for one sample.
            FieldNotFoundError, DataError, ShapeError, TypeNotSupportedError: As `split`.

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
        """Makes sure that each row comes once: `what` works on rows.

        Raises:
            OptionError: If the data set is balanced.
        """
        if self.pipeline.sampler is not None:
            raise OptionError(
                f"{what} comes before balance(): a balanced data set has some rows several times, "
                "and others in other epochs. It can be mapped and batched."
            )

    def take(self, n: int) -> "Dataset":
        """The first `n` rows; all, if there are fewer.

        Raises:
            OptionError: If `n` is negative.
        """
        check_integer("n of take()", n, 0)
        return self.part(0, min(n, len(self)))

    def part(self, start: int, stop: int) -> "Dataset":
        """The rows `start .. stop - 1`."""
        self.check_each_once("take()")
        return self._with(view=self.pipeline.view.part(start, stop))

    def only(self, *names: str) -> "Dataset":
        """The same rows with `names` alone as x: to look at labels without reading images.

        Raises:
            OptionError: If the data set has no such field, or was mapped.
        """
        if self.pipeline.maps:
            raise OptionError("only() comes before map(): a mapped data set has other fields.")
        if not names:
            raise OptionError("Expected only() with at least one name.")
        for name in names:
            if name not in self.pipeline.structure:
                raise OptionError(
                    f"There is no field {name!r}.{did_you_mean(name, self.pipeline.structure)} "
                    f"There are: {some_of(list(self.pipeline.structure))}"
                )
        fields = tuple(self.pipeline.structure[name] for name in dict.fromkeys(names))
        view = replace(self.pipeline.view, names=tuple(field.name for field in fields))
        structure = Spec(fields, names[0] if len(names) == 1 else names)
        return self._with(view=view, structure=structure)

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
            timeout: Seconds that making one batch, map functions included, or one read for it may
                take (1800 if not given); None for no limit. What takes longer hangs: the loop gets
                an error that shows where, and does not wait for the thread any more.
            on_error: What happens to a sample that its source cannot read. "raise" makes the batch
                fail with the reason. "skip" puts another sample in its place, chosen from
                (seed, epoch, row) alone, so that batches keep their size; in row order (`predict`,
                `evaluate`, `shuffle=False`) too. `report()` counts and lists such rows.
            max_bad: The share of the rows that "skip" may replace; more are an error.

        Returns:
            A `Loader`.

        Raises:
            OptionError: If an argument cannot be honoured.
            MemoryBudgetError: If `memory` is too small, and says the least that works; or if more
                would be held than this process may ever use.
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
