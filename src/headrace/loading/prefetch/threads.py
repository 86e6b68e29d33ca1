"""Threads around `fill`: batches are made ahead of time, bounded in bytes, and handed out in order.

Every thread runs the same loop: take the most urgent job that may run now, run it
without the lock, note its result. There is one lock, and all state below it:

    steps       what batches take from windows, in order; the next one, if its window is loaded
                and its batch may be started, is the most urgent job
    windows     at most two: one that batches are gathered from, one that is being read
    reads       of the windows and the cached fields; they run when no step can
    fetches     the first step of reads whose source waits for a slow store: threads of their own
                run them, ahead of the reads, so that many are in flight whatever the workers do

Small batches are made in groups: what each job costs is then shared. A batch that fails is handed
out in its place, as its error: the batches before it arrive first, on every run alike. Nothing
here influences what a batch contains.
"""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from headrace.errors import HeadraceError
from headrace.loading.bad_rows import BadRows
from headrace.loading.cache import CachedFields
from headrace.loading.fill import Epoch, Failure, forget_failures
from headrace.loading.prefetch.queue import BatchQueue, PendingGroup, ReadyGroup
from headrace.loading.prefetch.slots import Slot
from headrace.loading.prefetch.steps import Step, steps_of, windows_of
from headrace.loading.timeouts import Deadline, stack_of_thread, timeout_error
from headrace.loading.timing import Ledger, Timing
from headrace.sources import Read, StagedRead

Job = partial[None]

ABANDONED_SECONDS = 0.5
"""How often an idle thread checks whether its iterator was dropped."""


class Prefetch:
    """Makes the batches of one or more epochs ahead of time.

    Args:
        epochs: What to make; the first windows of the next one are read while the last ones
            of the one before empty.
        first: The first batch of the first epoch.
        cached: The fields that stay in memory.
        output: Where batches wait.
        workers: Threads.
        windows: Windows that may be held at a time: 2 to read one while the other empties.
        timing: Counts seconds and bytes.
        ledger: Counts the bytes held.
        timeout: Seconds that one job may take, such as a map function; None for no limit.
        fetches: Reads that may be fetched, or being fetched, and not yet decoded.
        bad: Takes the rows that could not be read.
    """

    def __init__(
        self,
        epochs: Iterable[Epoch],
        first: int,
        *,
        cached: CachedFields,
        output: BatchQueue,
        workers: int,
        windows: int,
        timing: Timing,
        ledger: Ledger,
        timeout: float | None = None,
        fetches: int = 0,
        bad: BadRows | None = None,
    ) -> None:
        self._bad = bad
        self._fetches_left = fetches
        self._fetching = fetches > 0
        self._timeout = timeout
        self._hangs = False
        self._running: dict[int, tuple[Job, float]] = {}
        self._cached_fields = cached
        self._timing = timing
        self._ledger = ledger
        self._output = output
        self._windows_held = windows
        # Reentrant: the garbage collector may call `abandon` in a thread that holds it.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        # A condition of its own: of one wake-up, a thread that fetches would make nothing.
        self._fetch_work = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)
        for_steps, for_windows = itertools.tee(epochs)
        self._steps = steps_of(for_steps, first, output.batches_per_group)
        self._coming = windows_of(for_windows, first)
        self._windows: dict[tuple[int, int], Slot] = {}
        self._cached = Slot()
        self._loading_cached = False
        self._next = 0
        self._leaving: deque[Any] = deque()
        self._step = next(self._steps, None)
        self._stopped = False
        self._fatal: Failure | None = None
        self._alive = workers + fetches
        self._pid = os.getpid()
        self._threads = [
            threading.Thread(target=self._run, args=(pick, work), name=f"headrace-{i}", daemon=True)
            for i, (pick, work) in enumerate(
                [(self._pick, self._work)] * workers
                + [(self._pick_fetch, self._fetch_work)] * fetches
            )
        ]
        try:
            self._open_cached()
            for thread in self._threads:
                thread.start()
        except BaseException:
            self._break_off()
            raise

    def _break_off(self) -> None:
        """Ends the threads that were started; an interrupt may come at any place."""
        with self._lock:
            self._stopped = True
            started = [thread for thread in self._threads if thread.ident is not None]
            self._alive -= len(self._threads) - len(started)
            self._threads = started
            self._wake_all()
            if self._alive == 0:
                self._clean_up()
        for thread in started:
            thread.join()

    # Called by the consumer.

    def take(self) -> Any:
        """The next batch; waits for it.

        Raises:
            StopIteration: After the last one.
            Exception: Any error that occurred while this batch was made.
        """
        if self._pid != os.getpid():
            raise HeadraceError(
                "This iterator was made before the process forked, and its threads stayed behind. "
                "Start a new one from the loader in the child process."
            )
        if not self._leaving:
            self._leaving = self._take_group()
        result = self._leaving.popleft()
        if isinstance(result, Failure):
            try:
                raise result.take()
            finally:
                forget_failures(self._leaving)
        return result

    def _take_group(self) -> deque[Any]:
        """Waits for the next batches that were made together."""
        began = time.perf_counter()
        patience = Deadline(self._timeout)
        with self._lock:
            while (results := self._output.take(self._next)) is None:
                if self._fatal is not None:
                    raise self._fatal.take()
                if self._stopped:
                    raise HeadraceError("This iterator was stopped. Start a new one.")
                if self._step is None and not self._output.pending:
                    raise StopIteration
                if not self._arrived.wait(patience.step) and patience.is_over():
                    self._check_hangs()
            self._next += 1
            # Threads that have enough ready sleep until half of it is gone.
            if self._output.runs_low:
                self._work.notify()
        self._timing.add(wait_for_data=time.perf_counter() - began)
        return results

    def _check_hangs(self) -> None:
        """Makes sure that no job has been running for too long; called with the lock held.

        Raises:
            BatchTimeoutError: If one has.
        """
        assert self._timeout is not None
        for ident, (job, since) in list(self._running.items()):
            if time.monotonic() - since >= self._timeout:
                self._hangs = True
                way_out = "If batches need more time, give batch() a longer timeout=, or None."
                stack = stack_of_thread(ident)
                raise timeout_error(_name_of(job), self._timeout, stack, way_out)

    def stop(self) -> None:
        """Ends the threads, after the jobs they are in; safe to call twice and from any thread.

        Not for the garbage collector, which may run in the middle of anything: see `abandon`.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            self._stopped = True
            self._wake_all()
        # A thread that hangs cannot be ended, so that no thread is waited for.
        if threading.current_thread() not in self._threads and not self._hangs:
            for thread in self._threads:
                thread.join()

    def abandon(self) -> None:
        """Tells the threads to end, without waiting for any lock or thread."""
        self._stopped = True
        if self._pid == os.getpid() and self._lock.acquire(blocking=False):
            self._wake_all()
            self._lock.release()

    def _wake_all(self) -> None:
        """Wakes every thread that waits, to see that all is over; with the lock held."""
        self._work.notify_all()
        self._fetch_work.notify_all()
        self._arrived.notify_all()

    # What the threads do. Every error is relayed, SystemExit too: without its threads the consumer
    # would wait forever.

    def _run(self, pick: Callable[[], Job | None], work: threading.Condition) -> None:
        _timing_of_thread[threading.get_ident()] = self._timing
        try:
            while (job := self._wait_for_job(pick, work)) is not None:
                self._running[threading.get_ident()] = job, time.monotonic()
                job()
                del self._running[threading.get_ident()]
                # While this thread waits for the next one, it would keep a window alive.
                del job
        except BaseException as error:  # noqa: BLE001 - relayed
            with self._lock:
                self._fatal = Failure(error)
                self._stopped = True
                self._wake_all()
        _timing_of_thread.pop(threading.get_ident(), None)
        with self._lock:
            self._alive -= 1
            if self._alive == 0:
                self._clean_up()

    def _wait_for_job(
        self, pick: Callable[[], Job | None], work: threading.Condition
    ) -> Job | None:
        """The next job; None when there will be none."""
        with self._lock:
            while not self._stopped:
                job = pick()
                if job is not None:
                    return job
                began = time.perf_counter()
                # `abandon` may find the lock taken and be unable to wake anyone.
                work.wait(ABANDONED_SECONDS)
                if work is self._work:
                    self._timing.add(wait_for_room=time.perf_counter() - began)
        return None

    def _clean_up(self) -> None:
        """Releases all memory; the last thread calls it."""
        if self._loading_cached:
            self._end_cached(complete=False)
        for slot in self._windows.values():
            if slot.loaded is not None:
                self._ledger.give(slot.loaded.nbytes)
                slot.loaded.close()
        self._windows.clear()
        self._output.close()

    def _pick(self) -> Job | None:
        """The most urgent job that may run now; called with the lock held."""
        if self._cached.ready:
            job = self._pick_piece()
            if job is not None:
                return job
        for slot in (self._cached, *self._windows.values()):
            if slot.reads:
                slot.running += 1
                return partial(self._read, slot, slot.reads.popleft())
        if not self._cached.ready or len(self._windows) >= self._windows_held:
            return None
        window, epoch = next(self._coming, (None, None))
        if window is None or epoch is None:
            return None
        slot = self._windows[window] = Slot()
        return partial(self._open, epoch, window[1], slot)

    def _pick_fetch(self) -> Job | None:
        """The next read to fetch, if one more may wait to be decoded; with the lock held."""
        if self._fetches_left:
            for slot in (self._cached, *self._windows.values()):
                if slot.unfetched:
                    slot.running += 1
                    self._fetches_left -= 1
                    return partial(self._fetch, slot, slot.unfetched.popleft())
        return None

    def _pick_piece(self) -> Job | None:
        step = self._step
        if step is None or not self._has_next_piece():
            return None
        slot = self._windows[step.window]
        start, stop = step.epoch.bounds(step.piece.group)
        pending = self._output.begin(step.group, stop - start)
        slot.pieces_left += 1
        self._step = next(self._steps, None)
        slot.passed = self._step is None or self._step.window != step.window
        if self._has_next_piece():
            # One change may allow more than one job; waking a thread for nothing costs more.
            self._work.notify()
        return partial(self._gather, step, slot, pending)

    def _has_next_piece(self) -> bool:
        """Whether the next piece may be gathered now."""
        if self._step is None:
            return False
        slot = self._windows.get(self._step.window)
        group = self._step.piece.group.batches
        return slot is not None and slot.ready and self._output.takes(self._step.group, group)

    def _open_cached(self) -> None:
        self._cached.open(self._cached_fields.begin(), self._fetching)
        self._loading_cached = self._cached.reading

    def _end_cached(self, complete: bool) -> None:
        self._loading_cached = False
        self._cached_fields.end(complete)

    def _open(self, epoch: Epoch, index: int, slot: Slot) -> None:
        try:
            loaded = epoch.open_window(index)
        except BaseException as error:  # noqa: BLE001 - relayed
            loaded, slot.failure = None, Failure(error)
        with self._lock:
            if self._stopped:
                if loaded is not None:
                    loaded.close()
                return
            if loaded is not None:
                self._ledger.take(loaded.nbytes)
                slot.loaded = loaded
                slot.open(loaded.reads, self._fetching)
                # Those that have run need not keep the numbers of their rows.
                loaded.reads.clear()
            else:
                slot.opened = True
            self._work.notify_all()
            self._fetch_work.notify_all()

    def _fetch(self, slot: Slot, read: StagedRead) -> None:
        began = time.perf_counter()
        failure = None
        try:
            read.fetch()
        except BaseException as error:  # noqa: BLE001 - relayed
            failure = Failure(error)
        self._timing.add(read=time.perf_counter() - began)
        with self._lock:
            slot.running -= 1
            if failure is None and slot.failure is None and not self._stopped:
                slot.reads.append(read)
                self._work.notify()
            else:
                self._give_back_fetches(1)
                if failure is not None:
                    self._give_back_fetches(slot.give_up(failure))
            self._after_read(slot)

    def _give_back_fetches(self, count: int) -> None:
        """Lets so many more reads be fetched; with the lock held."""
        self._fetches_left += count
        self._fetch_work.notify(count)

    def _read(self, slot: Slot, read: Read) -> None:
        failure = None
        try:
            stats = read()
            if self._bad is not None:
                self._bad.note(stats.bad)
            self._timing.add_cost(stats)
        except BaseException as error:  # noqa: BLE001 - relayed
            failure = Failure(error)
        with self._lock:
            slot.running -= 1
            if self._fetching and isinstance(read, StagedRead):
                self._give_back_fetches(1)
            if failure is not None:
                self._give_back_fetches(slot.give_up(failure))
            self._after_read(slot)

    def _after_read(self, slot: Slot) -> None:
        """Notes that a read, or a fetch, of a window or of the cached fields has run."""
        if slot is self._cached and not slot.reading:
            self._end_cached(complete=slot.failure is None)
        if slot.ready:
            self._work.notify_all()

    def _gather(self, step: Step, slot: Slot, pending: PendingGroup) -> None:
        piece = step.piece
        first, _ = step.epoch.bounds(piece.group)
        failure = slot.failure or self._cached.failure
        began = time.perf_counter()
        if failure is None:
            assert slot.loaded is not None
            failed = step.epoch.gather(slot.loaded, piece, pending.arrays)
        else:
            failed = [(piece.start - first, piece.stop - first, failure)]
        with self._lock:
            if self._stopped:
                return
            pending.failed += failed
            pending.seconds += time.perf_counter() - began
            pending.rows_left -= piece.stop - piece.start
            finished = pending.rows_left == 0
            slot.pieces_left -= 1
            if slot.passed and not slot.pieces_left:
                self._drop(step.window)
        if finished:
            self._complete(step, pending)

    def _drop(self, window: tuple[int, int]) -> None:
        slot = self._windows.pop(window)
        if slot.loaded is not None:
            self._ledger.give(slot.loaded.nbytes)
            slot.loaded.close(idle=not slot.running)
        self._work.notify_all()

    def _complete(self, step: Step, pending: PendingGroup) -> None:
        began = time.perf_counter()
        step.epoch.complete(step.piece.group, pending.arrays, pending.failed, pending.results)
        pending.seconds += time.perf_counter() - began
        ready_group = ReadyGroup(pending)
        with self._lock:
            if self._stopped:
                forget_failures(pending.results)
                return
            self._output.finish(step.group, ready_group)
            if step.group == self._next:
                self._arrived.notify()


_timing_of_thread: dict[int, Timing] = {}
"""The `Timing` of each thread that makes batches, by thread identifier."""


def makes_batches_of(timing: Timing) -> bool:
    """Whether this thread makes batches for the loader whose counts these are."""
    return _timing_of_thread.get(threading.get_ident()) is timing


def _name_of(job: Job) -> str:
    """What a job does, for messages."""
    step = job.args[0]
    if not isinstance(step, Step):
        return "reading rows"
    pending = job.args[2]
    return step.name(None if pending.rows_left else len(pending.results))
