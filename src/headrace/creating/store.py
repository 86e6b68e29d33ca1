"""Writes rows from several threads, and records which of them are on the disk."""

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
"""Rows are flushed after this time, however few they are."""

Result = TypeVar("Result")

_VERSION = 1

_FIELD_BYTES = 1 << 15
"""Bytes of the record for a field: enough for one that is written from first row to last."""


class WrittenNote:
    """The record of the rows on the disk, with disk space reserved for it.

    The space is reserved in advance, so that a full disk cannot lose rows that were flushed.

    Args:
        folder: The folder of the record.
        fields: The number of fields.
    """

    def __init__(self, folder: Path, fields: int) -> None:
        self._path = folder / WRITTEN
        self._room = folder / "room"
        self._bytes = 0
        self._keep_room((1 << 16) + fields * _FIELD_BYTES)

    def write(self, text: str) -> None:
        """Replaces the previous record.

        Raises:
            OSError: If the operating system reports an error; the previous record is still there.
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
        """Releases the reserved space."""
        self._room.unlink(missing_ok=True)
        self._bytes = 0

    def _keep_room(self, nbytes: int) -> None:
        """Reserves that much disk space, or all that is left."""
        if nbytes > self._bytes:
            with suppress(OSError):
                # Random bytes: no file system compresses them.
                self._room.write_bytes(os.urandom(nbytes))
            self._bytes = nbytes


class Store:
    """The rows of a file that is being written.

    A thread reserves rows under the lock, and writes their bytes without it. Rows count as written
    once all their bytes are written. A flush waits until no thread is writing, and lets no thread
    begin until it is done. So the record never has a row that is half written, nor a gap between
    appended rows.

    Args:
        staging: The staging folder, already entered.
        files: The files that values are written to.
        fields: The fields of a row.
        length: Rows of the file; None for a file that grows.
        plan: Fields, length and structure, which a process that resumes must have as well.
        rows: For each field, the rows that an earlier process wrote.
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
        # The thread ends with the store, and does not keep it alive.
        flush = weakref.WeakMethod(self.flush)
        self._flusher = Flusher(lambda: _flush_if_there(flush), SECONDS)

    def _make_locks(self) -> None:
        # A lock, since KeyboardInterrupt may be raised inside the methods of a condition.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._flushing = threading.Lock()

    @property
    def end(self) -> int:
        """One more than the last row that was written or is being written."""
        with self._lock:
            stops = [rows.stop for rows in self._rows.values()]
            return max(*stops, *self._under_way.values(), 0)

    @property
    def closed(self) -> bool:
        """Whether the store is closed for writing."""
        return self._closed

    @property
    def is_own(self) -> bool:
        """Whether this process made the store; False in a forked child."""
        return os.getpid() == self._process

    @property
    def kept(self) -> int:
        """One more than the last row that `resume=True` would find."""
        return self._kept

    def gaps(self, name: str) -> Iterator[range]:
        """The runs of rows of a field that are not written yet."""
        with self._lock:
            rows = self._rows[name].copy()
        return rows.gaps(self.end if self.length is None else self.length)

    def append(self, values: Mapping[str, Values], count: int) -> range:
        """Appends rows of all fields."""
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
        """Brings all written rows to the disk, and records them.

        Raises:
            WriteError: If that fails; the rows that were flushed before are safe.
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
                # The system may have dropped pages that it could not write: no later flush is safe.
                self._broken = error
                raise
            written = {name: some.to_json() for name, some in rows.items()}
            document = {"version": _VERSION, "plan": self._plan, "rows": written}
            self._note.write(json.dumps(document))
            self.staging.keep = True
            self._flushed = changes
            self._kept = max(some.stop for some in rows.values())

    def publish(self) -> None:
        """Completes the file, and moves it to its place.

        Raises:
            ShapeError: If there are no rows.
            DataError: If rows are missing; they can still be written.
            WriteError: If the operating system reports an error; what was flushed is safe.
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
                # The file is in its place, even if an interrupt followed.
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
            # In the flushing thread, since the garbage collector may call this inside `flush`.
            with suppress(OSError):
                self._flusher.close(self._leave)

    def check_process(self) -> None:
        """Checks that this is the process that created the file.

        Raises:
            OptionError: In a forked child.
        """
        if not self.is_own:
            raise OptionError(
                f"{self.staging.target} was created in another process, and has one writer. Use "
                "threads, or have other processes send their rows to that one."
            )

    def check_open(self) -> None:
        """Checks that rows can still be written.

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
        """Makes flushes wait while rows are written; yields the rows that are appended.

        Args:
            stop: One more than the last row that is written; None to append `count` rows.
            count: The number of rows to append.
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
        """Waits until no thread is writing, and lets none begin while the body runs."""
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
        """Removes the rows that this thread was writing when an interrupt came."""
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
        """Checks that all rows of all fields were written."""
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
    """For each field, the rows that an earlier process flushed; None if there are none.

    Raises:
        StateError: If that process wrote a file of other fields or length.
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
