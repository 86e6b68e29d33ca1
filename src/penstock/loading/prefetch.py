"""Threads around `fill`: batches are made ahead of time, bounded in bytes, and handed out in order.

Every thread runs the same loop: take the most urgent job that may run now, run it
without the lock, note its result. There is one lock, and all state below it:

    steps       what batches take from windows, in order; the next one, if its window is loaded
                and its batch may be started, is the most urgent job
    windows     at most two: one that batches are gathered from, one that is being read
    reads       of the windows and the resident fields; they run when no step can

A batch that fails is handed out in its place, as its error: the batches before it
arrive first, on every run alike. Nothing here influences what a batch contains.
"""

import gc
import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from penstock.errors import PenstockError
from penstock.loading.fill import Arrays, Epoch, LoadedWindow, Resident
from penstock.loading.steps import Step, steps_of, windows_of
from penstock.loading.timing import Ledger, Timing
from penstock.sources import Read
from penstock.spec import leaves

Job = Callable[[], None]

ABANDONED_SECONDS = 0.5
"""How often an idle thread looks whether its iterator is gone."""


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
    """Makes the batches of one or more epochs ahead of time.

    Args:
        epochs: What to make; the first windows of the next one are read while the last ones
            of the one before empty.
        first: The first batch of the first epoch.
        resident: The fields that stay in memory.
        workers: Threads.
        ahead: Bytes of batches that may be ready or in the making.
        windows: Windows that may be held at a time: 2 to read one while the other empties.
        timing: Counts seconds and bytes.
        ledger: Counts the bytes held.
    """

    def __init__(
        self,
        epochs: Iterable[Epoch],
        first: int,
        *,
        resident: Resident,
        workers: int,
        ahead: int,
        windows: int,
        timing: Timing,
        ledger: Ledger,
    ) -> None:
        self._resident_fields = resident
        self._timing = timing
        self._ledger = ledger
        self._ahead = ahead
        self._windows_held = windows
        # Reentrant: the garbage collector may call `abandon` in a thread that holds it.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)
        for_steps, for_windows = itertools.tee(epochs)
        self._steps = steps_of(for_steps, first)
        self._step = next(self._steps, None)
        self._coming = windows_of(for_windows, first)
        self._windows: dict[tuple[int, int], _Slot] = {}
        self._resident = _Slot()
        self._loading_resident = False
        self._making: dict[int, _Making] = {}
        self._done: dict[int, Any] = {}
        self._next = 0
        # Until the first batch is made, what map functions make of it is not known.
        self._batch_bytes: int | None = None
        self._stopped = False
        self._fatal: BaseException | None = None
        self._alive = workers
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
        began = time.perf_counter()
        with self._lock:
            while self._next not in self._done:
                if self._fatal is not None:
                    raise self._fatal
                if self._stopped:
                    raise PenstockError("This iterator was stopped. Start a new one.")
                if self._step is None and not self._making:
                    raise StopIteration
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
        """Ends the threads, after the jobs they are in; safe to call twice and from any thread.

        Not for the garbage collector, which may run in the middle of anything: see `abandon`.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            self._stopped = True
            self._work.notify_all()
            self._arrived.notify_all()
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()

    def abandon(self) -> None:
        """Tells the threads to end, without waiting for any lock or thread."""
        self._stopped = True
        if self._pid == os.getpid() and self._lock.acquire(blocking=False):
            self._work.notify_all()
            self._lock.release()

    # What the threads do. Every error is relayed, SystemExit too: without its threads the consumer
    # would wait forever.

    def _run(self) -> None:
        try:
            while (job := self._wait_for_job()) is not None:
                job()
        except BaseException as error:  # noqa: BLE001 - relayed
            with self._lock:
                self._fatal = error
                self._stopped = True
                self._work.notify_all()
                self._arrived.notify_all()
        with self._lock:
            self._alive -= 1
            if self._alive == 0:
                self._clean_up()

    def _wait_for_job(self) -> Job | None:
        """The next job; None when there will be none."""
        with self._lock:
            while not self._stopped:
                job = self._pick()
                if job is not None:
                    return job
                began = time.perf_counter()
                # `abandon` may find the lock taken and be unable to wake anyone.
                self._work.wait(ABANDONED_SECONDS)
                self._timing.add(wait_for_room=time.perf_counter() - began)
        return None

    def _clean_up(self) -> None:
        """Gives back what is held; the last thread does it."""
        if self._loading_resident:
            self._end_resident(complete=False)
        held = sum(m.nbytes for m in self._making.values())
        held += sum(nbytes for _, nbytes in self._done.values())
        for slot in self._windows.values():
            if slot.loaded is not None:
                held += slot.loaded.nbytes
                slot.loaded.close()
        self._windows.clear()
        self._making.clear()
        self._done.clear()
        self._ledger.give(held)

    def _pick(self) -> Job | None:
        """The most urgent job that may run now; called with the lock held."""
        if self._resident.ready:
            job = self._pick_piece()
            if job is not None:
                return job
        for slot in (self._resident, *self._windows.values()):
            if slot.reads:
                slot.running += 1
                read = slot.reads.popleft()
                return lambda: self._read(slot, read)
        if not self._resident.ready or len(self._windows) >= self._windows_held:
            return None
        window, epoch = next(self._coming, (None, None))
        if window is None or epoch is None:
            return None
        slot = self._windows[window] = _Slot()
        return lambda: self._open(epoch, window[1], slot)

    def _pick_piece(self) -> Job | None:
        step = self._step
        if step is None:
            return None
        slot = self._windows.get(step.window)
        if slot is None or not slot.ready:
            return None
        making = self._making.get(step.batch)
        if making is None:
            if not self._may_start(step.batch):
                return None
            arrays = step.epoch.empty_batch(step.piece.batch)
            start, stop = step.epoch.bounds(step.piece.batch)
            making = self._making[step.batch] = _Making(arrays, stop - start)
            self._ledger.take(making.nbytes)
        slot.pieces_left += 1
        self._step = next(self._steps, None)
        slot.passed = self._step is None or self._step.window != step.window
        # One change may allow more than one job.
        self._work.notify()
        return lambda: self._gather(step, slot, making)

    def _may_start(self, batch: int) -> bool:
        waiting = batch - self._next
        if waiting < 2:
            return True
        return self._batch_bytes is not None and (waiting + 1) * self._batch_bytes <= self._ahead

    def _open_resident(self) -> None:
        self._resident.reads.extend(self._resident_fields.begin())
        self._loading_resident = bool(self._resident.reads)
        self._resident.opened = True

    def _end_resident(self, complete: bool) -> None:
        self._loading_resident = False
        self._resident_fields.end(complete)

    def _open(self, epoch: Epoch, index: int, slot: _Slot) -> None:
        try:
            loaded = epoch.open_window(index)
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
            if slot is self._resident and not slot.reads and not slot.running:
                self._end_resident(complete=slot.error is None)
            if slot.ready:
                self._work.notify_all()

    def _gather(self, step: Step, slot: _Slot, making: _Making) -> None:
        error = slot.error or self._resident.error
        if error is None:
            try:
                assert slot.loaded is not None
                step.epoch.gather(slot.loaded, step.piece, making.arrays)
            except BaseException as caught:  # noqa: BLE001 - relayed
                error = caught
        with self._lock:
            if self._stopped:
                return
            if error is not None:
                making.error = making.error or error
            making.rows_left -= step.piece.stop - step.piece.start
            finished = making.rows_left == 0
            slot.pieces_left -= 1
            if slot.passed and not slot.pieces_left:
                self._drop(step.window)
        if finished:
            self._complete(step, making)

    def _drop(self, window: tuple[int, int]) -> None:
        slot = self._windows.pop(window)
        if slot.loaded is not None:
            self._ledger.give(slot.loaded.nbytes)
            slot.loaded.close(idle=not slot.running)
        self._work.notify_all()

    def _complete(self, step: Step, making: _Making) -> None:
        result: Any
        if making.error is None:
            try:
                result = step.epoch.complete(making.arrays)
            except BaseException as error:  # noqa: BLE001 - relayed
                making.error = error
        if making.error is not None:
            result = _Failure(making.error)
        nbytes = making.nbytes if making.error else sum(a.nbytes for a in leaves(result))
        with self._lock:
            if self._stopped:
                return
            self._ledger.give(making.nbytes)
            self._ledger.take(nbytes)
            del self._making[step.batch]
            self._batch_bytes = max(self._batch_bytes or 0, nbytes)
            self._done[step.batch] = (result, nbytes)
            if step.batch == self._next:
                self._arrived.notify()


class _Failure:
    """A batch that could not be made."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


# Says of each thread whether it is in the middle of a garbage collection: a finalizer that is
# called then may wait for nothing, while one that is called because the last reference went may.
_collecting = threading.local()


def _note_collection(phase: str, _: object) -> None:
    _collecting.now = phase == "start"


gc.callbacks.append(_note_collection)


def _end(prefetch: Prefetch) -> None:
    """Stops `prefetch`; only tells it to stop where waiting could be waiting for oneself."""
    if getattr(_collecting, "now", False):
        prefetch.abandon()
    else:
        prefetch.stop()


def stop_with(owner: object, prefetch: Prefetch) -> Callable[[], object]:
    """Stops `prefetch` when `owner` is gone, or the interpreter ends."""
    return weakref.finalize(owner, _end, prefetch)
