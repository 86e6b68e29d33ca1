"""`Writer`: the object that a user writes rows with."""

import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn

from headrace.creating.store import Store
from headrace.creating.values import rows_of_batch, values_for
from headrace.errors import OptionError, ShapeError, field_not_found, some_of
from headrace.loading import Loader
from headrace.order.indexing import rows_of
from headrace.sources.hdf5.limits import MOST_ROWS
from headrace.spec import Field
from headrace.staging import check_no_input


class Writer:
    """Writes the rows of an HDF5 file; made by `create`.

    Any number of threads may use it. `len(writer)` is the number of rows so far, and the row at
    which `write` continues.

    Attributes:
        fields: What a row holds.
        path: The file, which is there once the writer is closed.
    """

    def __init__(self, store: Store, fields: tuple[Field, ...]) -> None:
        self._store = store
        self._fields = {field.name: field for field in fields}
        self._finalizer = weakref.finalize(self, _forgotten, store)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What a row holds."""
        return tuple(self._fields.values())

    @property
    def path(self) -> str:
        """The file that is made."""
        return str(self._store.staging.target)

    def __len__(self) -> int:
        return self._store.end

    def __getitem__(self, name: str) -> "FieldWriter":
        """A field, to assign rows of it."""
        if not isinstance(name, str) or name not in self._fields:
            raise field_not_found(str(name), self._fields, self.path)
        return FieldWriter(self, self._fields[name])

    def write(self, batch: Any) -> range:
        """Appends rows: all of them, or none.

        Args:
            batch: A dict of arrays by the names of the fields; a tuple or list of arrays in their
                order; for a single field also its array. Arrays have shape `(rows, *field.shape)`,
                and a dtype whose values the field's can hold; lists of Python's numbers are
                rounded, as NumPy does.

        Returns:
            The numbers of the rows.

        Raises:
            FieldNotFoundError: If the batch names something else than the fields.
            OptionError: If the batch lacks a field, or has values of another kind.
            ShapeError: If shapes do not fit, or a file of fixed length has no room.
            LossError: If a value would change; names the row of the batch.
            WriteError: If the operating system reports an error, as on a full disk.
        """
        self._store.check_open()
        values = {
            name: rows_of_batch(self._fields[name], array)
            for name, array in self._by_name(batch).items()
        }
        counts = {name: len(some) for name, some in values.items()}
        count = next(iter(counts.values()))
        if len(set(counts.values())) > 1:
            listed = some_of([f"{name} has {n}" for name, n in counts.items()])
            raise ShapeError(
                f"The fields of a batch have different numbers of rows: {listed}. Every row needs "
                "a value in each."
            )
        return self._store.append(values, count)

    def write_all(self, batches: Iterable[Any]) -> int:
        """Writes the batches of a generator, a loader, or any other iterable.

        Args:
            batches: Each as `write` takes it.

        Returns:
            The number of rows.

        Raises:
            OptionError: If a loader reads the file that is to be replaced.
        """
        if isinstance(batches, Loader):
            check_no_input(self._store.staging.target, batches._view.inputs())
        return sum(len(self.write(batch)) for batch in batches)

    def flush(self) -> None:
        """Brings all written rows to the disk, and records that they are there.

        After that, `create(..., resume=True)` continues from them, however this process ends.

        Raises:
            WriteError: If that fails; what was flushed before is safe.
        """
        self._store.check_open()
        self._store.flush()

    def close(self) -> None:
        """Puts the file in its place, once all rows of all fields were written.

        Raises:
            ShapeError: If there are no rows.
            DataError: If rows of a field are missing; they can still be written.
            WriteError: If writing fails; `create(..., resume=True)` continues from flushed rows.
        """
        if not self._finalizer.alive:
            return
        try:
            self._store.publish()
        except BaseException as error:
            if self._store.closed:
                self._abandon(error)
            raise
        self._finalizer.detach()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.close()
            except BaseException as failed:
                if not self._store.closed:
                    self._abandon(failed)
                raise
        else:
            self._abandon(error)

    def _abandon(self, error: BaseException) -> None:
        """Keeps the written rows for `resume=True`, and adds a note about that to the error."""
        self._finalizer.detach()
        self._store.abandon()
        kept = self._store.kept
        if kept:
            error.add_note(
                f"{self.path} was not made. What was written of it, up to row {kept}, is kept: "
                "create(..., resume=True) continues from there."
            )

    def _by_name(self, batch: Any) -> dict[str, Any]:
        """The arrays of a batch by the names of their fields, in their order."""
        names = list(self._fields)
        if isinstance(batch, Mapping):
            for name in batch:
                if name not in self._fields:
                    raise field_not_found(str(name), names, self.path)
            missing = [name for name in names if name not in batch]
            if missing:
                raise OptionError(
                    f"The batch lacks {some_of(missing)}. Expected an array for each "
                    "field; w[name][rows] = ... writes one field alone."
                )
            return {name: batch[name] for name in names}
        several = isinstance(batch, tuple) or (isinstance(batch, list) and len(names) > 1)
        arrays = batch if several else [batch]
        if len(arrays) != len(names):
            raise OptionError(
                f"Expected a batch of {len(names)} arrays, for {some_of(names)}, or a dict of "
                f"them. Received: {len(arrays)}"
            )
        return dict(zip(names, arrays, strict=True))

    def __repr__(self) -> str:
        fields = ", ".join(map(str, self.fields))
        return f"<Writer of {self.path}, {len(self):,} rows so far: {fields}>"

    def __reduce__(self) -> NoReturn:
        raise OptionError(
            f"The writer of {self.path} cannot be pickled: a file has one writer. Use threads, or "
            "have other processes send their rows to this one."
        )


class FieldWriter:
    """A field of a file that is being written: `writer["image"][10:20] = images`.

    Rows are indexed as in NumPy, by an integer, a slice, integers or a boolean mask, and values are
    broadcast. In a file that grows, rows beyond its end make it longer.

    Attributes:
        name: The name of the field.
        dtype: The dtype of a value.
    """

    def __init__(self, writer: Writer, field: Field) -> None:
        self._writer = writer
        self._field = field
        self.name = field.name
        self.dtype = field.dtype

    def __len__(self) -> int:
        length = self._writer._store.length
        return len(self._writer) if length is None else length

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows, ...)`; rows are those so far where the file grows."""
        return (len(self), *self._field.shape)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Writes rows of this field.

        Args:
            index: An integer, a slice, a sequence or array of integers, or a boolean mask of
                shape `(len,)`.
            value: Samples for these rows, or what is broadcast to them.

        Raises:
            IndexError: If a row is out of range, or the index is of another kind.
            ShapeError: If the value does not fit.
            LossError: If a value would change.
            OptionError: If it is of another kind than the field.
            WriteError: If the operating system reports an error, as on a full disk.
        """
        store = self._writer._store
        store.check_open()
        rows = rows_of(index, len(self), MOST_ROWS if store.length is None else None)
        values = values_for(self._field, value, len(rows), single=rows.single)
        if len(rows):
            store.assign(self.name, rows, values)

    def missing(self) -> Iterator[range]:
        """The runs of rows that are not written yet, ascending."""
        return self._writer._store.gaps(self.name)

    def __repr__(self) -> str:
        return f"<FieldWriter {self.name!r} of {self._writer!r}>"


def _forgotten(store: Store) -> None:
    """Ends a writer that was dropped without `close()`."""
    if not store.closed and store.is_own:
        store.abandon()
        warnings.warn(
            f"The writer of {store.staging.target} was not closed, and no file was made. Use it in "
            "a with statement, or call close(). create(..., resume=True) continues from what it "
            "wrote.",
            ResourceWarning,
            stacklevel=2,
        )
