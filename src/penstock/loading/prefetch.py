"""Threads around `fill`: batches are made ahead of time, bounded in bytes, and handed out in order.

Every thread runs the same loop: take the most urgent job that may run now, run it
without the lock, note its result. There is one lock, and all state below it:

    steps       what batches take from windows, in order; the next one, if its window is loaded
                and its batch may be started, is the most urgent job
    windows     at most two: one that batches are gathered from, one that is being read
    reads       of the windows and the resident fields; they run when no step can

Small batches are made in groups: what each job costs is then shared. A batch that fails is handed
out in its place, as its error: the batches before it arrive first, on every run alike. Nothing
here influences what a batch contains.
"""

import gc
import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from penstock.errors import PenstockError
from penstock.loading.fill import Arrays, Epoch, Failure, LoadedWindow, Resident
from penstock.loading.memory import BatchMemory, Block
from penstock.loading.steps import Step, steps_of, windows_of
from penstock.loading.timing import Ledger, Timing
from penstock.sources import Read
from penstock.spec import Field, leaves

Job = Callable[[], None]

GROUP_BYTES = 1 << 18
"""Batches smaller than this are made together. Somebody who keeps one of them keeps the memory of
its group."""

GROUP_SECONDS = 0.005
"""What map functions may take for a group: the first of its batches waits for the last."""

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
    """A group of batches on its way."""

    def __init__(self, rows: int, memory: BatchMemory) -> None:
        self.arrays: Arrays
        self.arrays, self.blocks = memory.take(rows)
        self.rows_left = rows
        self.nbytes = sum(array.nbytes for array in self.arrays.values())
        self.failed: list[tuple[int, int, BaseException]] = []


class _Made(NamedTuple):
    """Batches that are ready."""

    results: deque[Any]
    nbytes: int
    blocks: list[tuple[str, Block]]


class Prefetch:
    """Makes the batches of one or more epochs ahead of time.

    Args:
        epochs: What to make; the first windows of the next one are read while the last ones
            of the one before empty.
        first: The first batch of the first epoch.
        fields: Of a row.
        resident: The fields that stay in memory.
        workers: Threads.
        ahead: Bytes of batches that may be ready or in the making.
        spare: Bytes of batches that were handed out, kept for their next use.
        windows: Windows that may be held at a time: 2 to read one while the other empties.
        timing: Counts seconds and bytes.
        ledger: Counts the bytes held.
    """

    def __init__(
        self,
        epochs: Iterable[Epoch],
        first: int,
        *,
        fields: Sequence[Field],
        resident: Resident,
        workers: int,
        ahead: int,
        spare: int,
        windows: int,
        timing: Timing,
        ledger: Ledger,
    ) -> None:
        self._resident_fields = resident
        self._timing = timing
        self._ledger = ledger
        self._ahead = ahead
        self._memory = BatchMemory(fields, spare, ledger)
        self._windows_held = windows
        # Reentrant: the garbage collector may call `abandon` in a thread that holds it.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)
        for_steps, for_windows = itertools.tee(epochs)
        self._steps = steps_of(for_steps, first, self._together)
        self._coming = windows_of(for_windows, first)
        self._windows: dict[tuple[int, int], _Slot] = {}
        self._resident = _Slot()
        self._loading_resident = False
        self._making: dict[int, _Making] = {}
        self._made: dict[int, _Made] = {}
        self._next = 0
        self._handing_out = _Made(deque(), 0, [])
        self._held = 0
        # Until the first batch is made, what map functions make of it is not known.
        self._batch_bytes: int | None = None
        self._batch_seconds = 0.0
        self._step = next(self._steps, None)
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
        if not self._handing_out.results:
            self._take_group()
        result = self._handing_out.results.popleft()
        if isinstance(result, Failure):
            raise result.error
        return result

    def _take_group(self) -> None:
        """Waits for the next batches that were made together."""
        began = time.perf_counter()
        with self._lock:
            # The group before counted as held while batches of it were left.
            self._give_back(self._handing_out)
            self._handing_out = _Made(deque(), 0, [])
            while self._next not in self._made:
                if self._fatal is not None:
                    raise self._fatal
                if self._stopped:
                    raise PenstockError("This iterator was stopped. Start a new one.")
                if self._step is None and not self._making:
                    raise StopIteration
                self._arrived.wait()
            self._handing_out = self._made.pop(self._next)
            self._next += 1
            if len(self._handing_out.results) == 1:
                self._give_back(self._handing_out)
                self._handing_out = _Made(self._handing_out.results, 0, [])
            # Threads that have enough ready sleep until half of it is gone.
            if self._held * 2 <= self._ahead or len(self._made) < 2:
                self._work.notify()
        self._timing.add(wait_for_data=time.perf_counter() - began)

    def _give_back(self, made: _Made) -> None:
        """Counts batches as handed out; their memory is used again when nothing refers to it."""
        self._held -= made.nbytes
        self._ledger.give(made.nbytes)
        self._memory.give(made.blocks)

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
        held = self._held
        for slot in self._windows.values():
            if slot.loaded is not None:
                held += slot.loaded.nbytes
                slot.loaded.close()
        self._windows.clear()
        self._making.clear()
        self._made.clear()
        self._memory.clear()
        self._held = 0
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
        making = self._making.get(step.group)
        if making is None:
            if not self._may_start(step.piece.group.batches):
                return None
            start, stop = step.epoch.bounds(step.piece.group)
            making = self._making[step.group] = _Making(stop - start, self._memory)
            self._held += making.nbytes
            self._ledger.take(making.nbytes)
        slot.pieces_left += 1
        self._step = next(self._steps, None)
        slot.passed = self._step is None or self._step.window != step.window
        # One change may allow more than one job.
        self._work.notify()
        return lambda: self._gather(step, slot, making)

    def _may_start(self, count: int) -> bool:
        """Whether `count` more batches may be made now."""
        if len(self._making) + len(self._made) < 2:
            return True
        if self._batch_bytes is None:
            return False
        return self._held + count * self._batch_bytes <= self._ahead

    def _together(self) -> int:
        """How many batches to make together."""
        if not self._batch_bytes:
            return 1
        count = min(GROUP_BYTES, self._ahead // 8) // self._batch_bytes
        if self._batch_seconds:
            count = min(count, int(GROUP_SECONDS / self._batch_seconds))
        return max(1, count)

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
        piece = step.piece
        first, _ = step.epoch.bounds(piece.group)
        error = slot.error or self._resident.error
        if error is None:
            assert slot.loaded is not None
            failed = step.epoch.gather(slot.loaded, piece, making.arrays)
        else:
            failed = [(piece.start - first, piece.stop - first, error)]
        with self._lock:
            if self._stopped:
                return
            making.failed += failed
            making.rows_left -= piece.stop - piece.start
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
        began = time.perf_counter()
        group = step.piece.group
        results = step.epoch.complete(group, making.arrays, making.failed)
        seconds = (time.perf_counter() - began) / group.batches
        sizes = [
            making.nbytes // group.batches
            if isinstance(result, Failure)
            else sum(array.nbytes for array in leaves(result))
            for result in results
        ]
        nbytes = sum(sizes)
        with self._lock:
            if self._stopped:
                return
            self._held += nbytes - making.nbytes
            self._ledger.give(making.nbytes)
            self._ledger.take(nbytes)
            del self._making[step.group]
            self._batch_bytes = max(self._batch_bytes or 0, *sizes)
            self._batch_seconds = max(self._batch_seconds, seconds)
            self._made[step.group] = _Made(deque(results), nbytes, making.blocks)
            if step.group == self._next:
                self._arrived.notify()


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
