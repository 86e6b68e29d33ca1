"""Writes rows from several threads, and notes which of them are safe on the disk."""

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from headrace.creating.files import Files
from headrace.creating.rows import RowSet
from headrace.creating.values import Values
from headrace.errors import DataError, OptionError, ShapeError, StateError, some_of
from headrace.forks import run_in_each_process
from headrace.order.indexing import Rows
from headrace.spec import Field
from headrace.staging import FULL, WRITTEN, Staging, replace_text, write_errors
from headrace.writing.flushing import Flusher

SECONDS = 5.0
"""After which rows are flushed, however few they are."""

Result = TypeVar("Result")

_VERSION = 1

_FIELD_BYTES = 1 << 15
"""Of the note: more than a field takes that is written from its first row to its last."""


class WrittenNote:
    """The note of what is safe, and room on the disk for it: a full disk costs no rows.

    Args:
        folder: Where it is kept.
        fields: How many it is about.
    """

    def __init__(self, folder: Path, fields: int) -> None:
        self._path = folder / WRITTEN
        self._room = folder / "room"
        self._bytes = 0
        self._keep_room((1 << 16) + fields * _FIELD_BYTES)

    def write(self, text: str) -> None:
        """Puts it in the place of the one before.

        Raises:
            OSError: If the system refuses; then the one before is there.
        """
        try:
            replace_text(self._path, text)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.free_room()
            replace_text(self._path, text)
        self._keep_room(2 * len(text))

    def free_room(self) -> None:
        """Gives up the room that was kept."""
        self._room.unlink(missing_ok=True)
        self._bytes = 0

    def _keep_room(self, nbytes: int) -> None:
        """Takes that much of the disk, or what there is."""
        if nbytes > self._bytes:
            with suppress(OSError):
                # No file system makes less of random bytes.
                self._room.write_bytes(os.urandom(nbytes))
            self._bytes = nbytes


class Store:
    """Rows of a file that is being written.

    A place is reserved under a lock, and bytes are written outside of it. What was written counts
    once all of it is there. To flush, a thread waits for what is under way, and holds new rows up
    for that moment: so the note knows no row that is not whole, and of rows that were appended
    one after the other no hole between them.

    Args:
        staging: The folder, entered already.
        files: Where values go.
        fields: What is written.
        length: Rows of the file; None for one that grows.
        plan: What has to be the same for those who go on.
        rows: For each field those that were written before.
    """

    def __init__(
        self,
        staging: Staging,
        files: Files,
        fields: Sequence[Field],
        length: int | None,
        plan: Mapping[str, Any],
        rows: Mapping[str, RowSet],
    ) -> None:
        self.staging = staging
        self.length = length
        self._files = files
        self._fields = {field.name: field for field in fields}
        self._plan = plan
        self._rows = dict(rows)
        self._under_way: dict[int, int] = {}
        self._held_up = False
        self._kept = max(some.stop for some in rows.values())
        self._closed = False
        self._broken: OSError | None = None
        self._changes = 0
        self._flushed = 0
        self._process = os.getpid()
        run_in_each_process(self, Store._make_locks)
        self._note = WrittenNote(staging.folder, len(fields))
        # The thread ends with the store, and keeps it from nothing.
        flush = weakref.WeakMethod(self.flush)
        self._flusher = Flusher(lambda: _flush_if_there(flush), SECONDS)

    def _make_locks(self) -> None:
        # An interrupt may come in the midst of the methods of a condition, and not of a lock's.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._flushing = threading.Lock()

    @property
    def end(self) -> int:
        """The row behind the last one that was written, or is being written."""
        with self._lock:
            stops = [rows.stop for rows in self._rows.values()]
            return max(*stops, *self._under_way.values(), 0)

    @property
    def closed(self) -> bool:
        """Whether no more rows can be written."""
        return self._closed

    @property
    def is_own(self) -> bool:
        """Whether this process made it, and not one that it was forked from."""
        return os.getpid() == self._process

    @property
    def kept(self) -> int:
        """The row after the last one that `resume=True` will find."""
        return self._kept

    def gaps(self, name: str) -> Iterator[range]:
        """The runs of rows of a field that were not written."""
        with self._lock:
            rows = self._rows[name].copy()
        return rows.gaps(self.end if self.length is None else self.length)

    def append(self, values: Mapping[str, Values], count: int) -> range:
        """Writes rows of all fields behind the last row."""
        with self._at_work(None, count) as rows:
            for name, some in values.items():
                self._put(name, Rows(rows), some)
            with self._lock:
                for written in self._rows.values():
                    written.add(rows.start, rows.stop)
        self._noted(sum(some.nbytes for some in values.values()))
        return rows

    def assign(self, name: str, rows: Rows, values: Values) -> None:
        """Writes rows of a field."""
        with self._at_work(rows.stop):
            self._put(name, rows, values)
            numbers = rows.numbers
            with self._lock:
                if isinstance(numbers, range) and numbers.step == 1:
                    self._rows[name].add(numbers.start, numbers.stop)
                else:
                    for some in rows.blocks():
                        self._rows[name].add_rows(some)
        self._noted(values.nbytes)

    def flush(self) -> None:
        """Brings all rows that were written to the disk, and notes them.

        Raises:
            WriteError: If that fails; what was noted before is safe.
        """
        self.check_process()
        with self._flushing, write_errors(self.staging.target):
            changes, rows = self._while_quiet(self._snapshot)
            if self._broken is not None:
                raise self._broken
            if changes == self._flushed:
                return
            try:
                self._files.sync()
            except OSError as error:
                # The system may have dropped what it could not write: nothing later is safe.
                self._broken = error
                raise
            written = {name: some.to_json() for name, some in rows.items()}
            document = {"version": _VERSION, "plan": self._plan, "rows": written}
            self._note.write(json.dumps(document))
            self.staging.keep = True
            self._flushed = changes
            self._kept = max(some.stop for some in rows.values())

    def publish(self) -> None:
        """Makes the file of all rows, and puts it in its place.

        Raises:
            ShapeError: If there are no rows.
            DataError: If rows are missing; then more can be written.
            WriteError: If the system refuses; what was flushed is safe.
        """
        self.check_process()
        self._while_quiet(self._close_whole)
        whole = False
        try:
            with write_errors(self.staging.target):
                self._flusher.close()
                self.flush()
                self._note.free_room()
                self._files.finish(self.end)
                self._files.close()
            whole = True
            self.staging.publish()
        finally:
            if whole and not self.staging.path.exists():
                # It is in its place, whatever came after that.
                self._kept = 0
            self._release()

    def abandon(self) -> None:
        """Ends without a file; what was written stays for `resume=True`."""
        if not self.is_own:
            return
        with self._lock:
            closed, self._closed = self._closed, True
            self._forget_own()
        if not closed:
            # In its own thread, since the garbage collector may run this in the midst of `flush`.
            with suppress(OSError):
                self._flusher.close(self._leave)

    def check_process(self) -> None:
        """Makes sure that this is the process that the file was created in.

        Raises:
            OptionError: If it is a fork of it.
        """
        if not self.is_own:
            raise OptionError(
                f"{self.staging.target} was created in another process, and has one writer. Use "
                "threads, or have other processes send their rows to that one."
            )

    def check_open(self) -> None:
        """Makes sure that rows can still be written.

        Raises:
            OptionError: If it was closed.
        """
        if self._closed:
            raise OptionError(
                f"{self.staging.target} was closed. create(..., resume=True) continues from "
                "what was not published; create(..., overwrite=True) writes it anew, without that."
            )

    def _leave(self) -> None:
        with suppress(OSError):
            self.flush()
        self._release()

    def _release(self) -> None:
        with ExitStack() as ends:
            ends.callback(self.staging.close)
            self._files.close()

    def _put(self, name: str, rows: Rows, values: Values) -> None:
        with write_errors(self.staging.target):
            for first, piece in values.pieces():
                for place, row, count in rows.runs(first, len(piece)):
                    part = piece[place - first : place - first + count]
                    self._files.put(name, row, part)

    def _noted(self, nbytes: int) -> None:
        with write_errors(self.staging.target):
            self._flusher.note(nbytes)

    @contextmanager
    def _at_work(self, stop: int | None, count: int = 0) -> Iterator[range]:
        """Keeps flushes waiting while rows are written; gives those behind the last one.

        Args:
            stop: The row behind those that are written; None for `count` rows at the end.
            count: How many that are.
        """
        self.check_process()
        me = threading.get_ident()
        with self._lock:
            self._changed.wait_for(lambda: not self._held_up)
            self.check_open()
            start = self.end
            if stop is None:
                stop = start + count
                self._check_room(start, count)
            self._under_way[me] = stop
        try:
            yield range(start, stop)
        finally:
            with self._lock:
                self._under_way.pop(me, None)
                self._changes += 1
                self._changed.notify_all()

    def _while_quiet(self, do: Callable[[], Result]) -> Result:
        """Waits until nothing is being written, and keeps it so while something else is done."""
        with self._lock:
            self._forget_own()
            self._changed.wait_for(lambda: not self._held_up)
            self._held_up = True
            try:
                self._changed.wait_for(lambda: not self._under_way)
                return do()
            finally:
                self._held_up = False
                self._changed.notify_all()

    def _forget_own(self) -> None:
        """Forgets rows that this thread was writing when an interrupt came: it no longer does."""
        self._under_way.pop(threading.get_ident(), None)
        self._changed.notify_all()

    def _snapshot(self) -> tuple[int, dict[str, RowSet]]:
        return self._changes, {name: rows.copy() for name, rows in self._rows.items()}

    def _close_whole(self) -> None:
        self.check_open()
        self._check_whole()
        self._closed = True

    def _check_room(self, start: int, count: int) -> None:
        if self.length is not None and start + count > self.length:
            raise ShapeError(
                f"The batch has {count} rows, and {self.staging.target} has {self.length - start} "
                f"of its {self.length} left. Leave length= out for a file that grows."
            )

    def _check_whole(self) -> None:
        """Makes sure that all rows of all fields are there."""
        length = self.end if self.length is None else self.length
        if not length:
            raise ShapeError(
                f"{self.staging.target} cannot be made without rows. Write some first."
            )
        missing = []
        for name, rows in self._rows.items():
            gap = next(rows.gaps(length), None)
            if gap is not None:
                count = sum(map(len, rows.gaps(length)))
                missing.append(f"{name!r} lacks {count} of {length} rows, from row {gap.start} on")
        if missing:
            raise DataError(
                f"{self.staging.target} is not whole, and was not made: {some_of(missing)}. Write "
                "these rows first; writer[name].missing() lists them."
            )


def _flush_if_there(flush: "weakref.WeakMethod[Callable[[], None]]") -> None:
    method = flush()
    if method is not None:
        method()


def read_note(folder: Path, target: Path, plan: Mapping[str, Any]) -> dict[str, RowSet] | None:
    """For each field the rows that a process before has flushed; None if there are none.

    Raises:
        StateError: If that was another file.
    """
    try:
        document = json.loads((folder / WRITTEN).read_text())
        found = document["plan"] if document["version"] == _VERSION else {}
        rows = {name: RowSet.from_json(rows) for name, rows in document["rows"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError(
            f"{folder / WRITTEN} is damaged, so {target} cannot be resumed. "
            "Say create(..., overwrite=True) to write it anew, without that."
        ) from error
    differ = [name for name, value in plan.items() if found.get(name) != value]
    if differ:
        raise StateError(
            f"{target} cannot be resumed: it was written with other "
            f"{', '.join(differ)}. Create it as before, or anew with overwrite=True."
        )
    return rows
