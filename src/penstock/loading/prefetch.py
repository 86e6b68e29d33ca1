"""Threads around `fill`: batches are made ahead of time, bounded in bytes, and handed out in order.

Every thread runs the same loop: take the most urgent job that may run now, run it
without the lock, note its result. There is one lock, and all state below it:

    pieces      what batches take from windows, in order; the next one whose window is loaded
                and whose batch may be started is the most urgent job
    windows     at most two: one that batches are gathered from, one that is being read
    reads       of the windows and the resident fields; they run when no piece can

A batch that fails is handed out in its place, as its error: the batches before it
arrive first, on every run alike. Nothing here influences what a batch contains.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from penstock.errors import PenstockError
from penstock.loading.fill import Arrays, Epoch, LoadedWindow, Piece
from penstock.loading.timing import Ledger
from penstock.sources import Read
from penstock.spec import leaves

Job = Callable[[], None]


class _Slot:
    """A window on its way: opened, read, gathered from, dropped."""

    def __init__(self) -> None:
        self.loaded: LoadedWindow | None = None
        self.reads: deque[Read] = deque()
        self.running = 0
        self.opened = False
        self.pieces_left = 0
        self.passed = False
        self.error: BaseException | None = None

    @property
    def ready(self) -> bool:
        return self.error is not None or (self.opened and not self.reads and not self.running)


class _Making:
    """A batch on its way."""

    def __init__(self, arrays: Arrays, rows: int) -> None:
        self.arrays = arrays
        self.rows_left = rows
        self.nbytes = sum(array.nbytes for array in arrays.values())
        self.error: BaseException | None = None


class Prefetch:
    """Makes the batches of one epoch ahead of time.

    Args:
        epoch: What to make.
        first: The first batch.
        workers: Threads.
        ahead: Bytes of batches that may be ready or in the making.
        windows: Windows that may be held at a time: 2 to read one while the other empties.
        ledger: Counts the bytes held.
    """

    def __init__(
        self,
        epoch: Epoch,
        first: int,
        *,
        workers: int,
        ahead: int,
        windows: int,
        ledger: Ledger,
    ) -> None:
        self._epoch = epoch
        self._timing = epoch.timing
        self._ledger = ledger
        self._ahead = ahead
        self._windows_held = windows
        # Reentrant: the garbage collector may call `stop` in a thread that holds it.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)
        self._pieces = epoch.pieces(first)
        self._piece: Piece | None = next(self._pieces, None)
        self._windows: dict[int, _Slot] = {}
        self._next_window = self._piece.window if self._piece else 0
        self._last_window = epoch.order.find(epoch.rows - 1)
        self._resident = _Slot()
        self._making: dict[int, _Making] = {}
        self._done: dict[int, Any] = {}
        self._next = first
        self._batch_bytes = 1
        self._stopped = False
        self._pid = os.getpid()
        self._threads = [
            threading.Thread(target=self._run, name=f"penstock-{i}", daemon=True)
            for i in range(workers)
        ]
        self._open_resident()
        for thread in self._threads:
            thread.start()

    # What the consumer calls.

    def take(self) -> Any:
        """The next batch; waits for it.

        Raises:
            StopIteration: After the last one.
            Exception: Whatever went wrong while this batch was made.
        """
        if self._pid != os.getpid():
            raise PenstockError(
                "This iterator was made before the process forked, and its threads stayed behind. "
                "Start a new one from the loader in the child process."
            )
        if self._next >= len(self._epoch):
            raise StopIteration
        began = time.perf_counter()
        with self._lock:
            while self._next not in self._done:
                if self._stopped:
                    raise PenstockError("This iterator was stopped. Start a new one.")
                self._arrived.wait()
            result, nbytes = self._done.pop(self._next)
            self._next += 1
            self._work.notify()
        self._ledger.give(nbytes)
        self._timing.add(wait_for_data=time.perf_counter() - began)
        if isinstance(result, _Failure):
            raise result.error
        return result

    def stop(self) -> None:
        """Ends the threads, after the jobs they are in; safe to call twice and from any thread."""
        with self._lock:
            self._stopped = True
            self._work.notify_all()
            self._arrived.notify_all()
        ended = threading.current_thread() not in self._threads and self._pid == os.getpid()
        if ended:
            for thread in self._threads:
                thread.join()
        with self._lock:
            held = 0
            for slot in self._windows.values():
                if slot.loaded is not None:
                    held += slot.loaded.nbytes
                    slot.loaded.close(idle=ended)
            held += sum(m.nbytes for m in self._making.values())
            held += sum(nbytes for _, nbytes in self._done.values())
            self._windows.clear()
            self._making.clear()
            self._done.clear()
        self._ledger.give(held)

    # What the threads do. Every error is relayed, SystemExit too: without its threads the consumer
    # would wait forever.

    def _run(self) -> None:
        while True:
            with self._lock:
                while (job := self._pick()) is None and not self._stopped:
                    began = time.perf_counter()
                    self._work.wait()
                    self._timing.add(wait_for_room=time.perf_counter() - began)
                if self._stopped:
                    return
            assert job is not None
            job()

    def _pick(self) -> Job | None:
        """The most urgent job that may run now; called with the lock held."""
        if self._stopped:
            return None
        if self._resident.ready:
            job = self._pick_piece()
            if job is not None:
                return job
        for slot in (self._resident, *self._windows.values()):
            if slot.reads:
                slot.running += 1
                read = slot.reads.popleft()
                return lambda: self._read(slot, read)
        if (
            self._resident.ready
            and len(self._windows) < self._windows_held
            and self._next_window <= self._last_window
        ):
            index = self._next_window
            self._next_window += 1
            slot = self._windows[index] = _Slot()
            return lambda: self._open(index, slot)
        return None

    def _pick_piece(self) -> Job | None:
        piece = self._piece
        if piece is None:
            return None
        slot = self._windows.get(piece.window)
        if slot is None or not slot.ready:
            return None
        if piece.batch not in self._making and not self._may_start(piece.batch):
            return None
        slot.pieces_left += 1
        self._piece = next(self._pieces, None)
        slot.passed = self._piece is None or self._piece.window != piece.window
        if piece.batch not in self._making:
            arrays = {} if slot.error else self._epoch.empty_batch(piece.batch)
            start, stop = self._epoch.bounds(piece.batch)
            making = self._making[piece.batch] = _Making(arrays, stop - start)
            self._ledger.take(making.nbytes)
        else:
            making = self._making[piece.batch]
        # One change may allow more than one job.
        self._work.notify()
        return lambda: self._gather(piece, slot, making)

    def _may_start(self, batch: int) -> bool:
        waiting = batch - self._next
        return waiting < 2 or (waiting + 1) * self._batch_bytes <= self._ahead

    def _open_resident(self) -> None:
        if not self._epoch.resident.complete:
            self._resident.reads.extend(self._epoch.resident.reads())
        self._resident.opened = True

    def _open(self, index: int, slot: _Slot) -> None:
        try:
            loaded = self._epoch.open_window(index)
        except BaseException as error:  # noqa: BLE001 - relayed
            loaded, slot.error = None, error
        with self._lock:
            if self._stopped:
                if loaded is not None:
                    loaded.close()
                return
            if loaded is not None:
                self._ledger.take(loaded.nbytes)
                slot.loaded = loaded
                slot.reads.extend(loaded.reads)
            slot.opened = True
            self._work.notify_all()

    def _read(self, slot: _Slot, read: Read) -> None:
        error = None
        try:
            self._timing.add_cost(read())
        except BaseException as caught:  # noqa: BLE001 - relayed
            error = caught
        with self._lock:
            slot.running -= 1
            if error is not None and slot.error is None:
                slot.error = error
                slot.reads.clear()
            if slot.ready:
                if slot is self._resident:
                    self._epoch.resident.complete = slot.error is None
                self._work.notify_all()

    def _gather(self, piece: Piece, slot: _Slot, making: _Making) -> None:
        error = slot.error or self._resident.error
        if error is None:
            try:
                assert slot.loaded is not None
                self._epoch.gather(slot.loaded, piece, making.arrays)
            except BaseException as caught:  # noqa: BLE001 - relayed
                error = caught
        with self._lock:
            if self._stopped:
                return
            if error is not None:
                making.error = making.error or error
            making.rows_left -= piece.stop - piece.start
            finished = making.rows_left == 0
            slot.pieces_left -= 1
            if slot.passed and not slot.pieces_left:
                self._drop(piece.window)
        if finished:
            self._complete(piece.batch, making)

    def _drop(self, index: int) -> None:
        slot = self._windows.pop(index)
        if slot.loaded is not None:
            self._ledger.give(slot.loaded.nbytes)
            slot.loaded.close(idle=not slot.running)
        self._work.notify_all()

    def _complete(self, batch: int, making: _Making) -> None:
        result: Any
        if making.error is None:
            try:
                result = self._epoch.complete(making.arrays)
            except BaseException as error:  # noqa: BLE001 - relayed
                making.error = error
        if making.error is not None:
            result = _Failure(making.error)
        nbytes = making.nbytes if making.error else sum(a.nbytes for a in leaves(result))
        with self._lock:
            if self._stopped:
                return
            self._ledger.take(nbytes)
            self._ledger.give(making.nbytes)
            del self._making[batch]
            self._batch_bytes = max(self._batch_bytes, nbytes)
            self._done[batch] = (result, nbytes)
            if batch == self._next:
                self._arrived.notify()


class _Failure:
    """A batch that could not be made."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def stop_with(owner: object, prefetch: Prefetch) -> Callable[[], object]:
    """Stops `prefetch` when `owner` is gone, or the interpreter ends."""
    return weakref.finalize(owner, prefetch.stop)
