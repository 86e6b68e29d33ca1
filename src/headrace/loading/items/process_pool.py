"""A pool of worker processes that make batches and send them through shared memory.

They are spawned, never forked: a fork copies locks that other threads hold, such as JAX's.
The object is pickled once and sent to each process when it starts. For each process, a thread
of the parent (`supervisor.py`) takes requests from one queue, sends them to its process one by
one, and restarts the process when it ends.
"""

import atexit
import contextlib
import os
import pickle
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from queue import SimpleQueue
from typing import Any

from headrace.errors import HeadraceError, OptionError, ProcessesError, ReadError
from headrace.loading.items.batch import Batch, ItemIndices
from headrace.loading.items.failures import text_of
from headrace.loading.items.main_guard import check_can_start
from headrace.loading.items.process import CLOSED, END_SECONDS
from headrace.loading.items.supervisor import Barrier, BatchRequest, Supervisor


@dataclass
class EpochCall:
    """A call of `on_epoch_begin` or `on_epoch_end` that every copy of the object must run.

    Attributes:
        name: Name of the method.
        epoch: The epoch that begins or has ended.
        state: State of the copies after the call, from the first one that ran it: a digest of
            their orders, and their length.
        known: Whether all copies are known to have run it.
    """

    name: str
    epoch: int
    state: tuple[str, int] | None = None
    known: bool = False


class WorkerProcesses:
    """Worker processes, each with its own copy of an object.

    Args:
        items: The object; it must be picklable.
        count: How many processes.
        seed: Seed of their random numbers.
        retries: How often a batch is requested again after its process ended.
        timeout: Seconds that a batch may take; None for no limit.

    Raises:
        ProcessesError: If the object does not pickle, or this process cannot start others.
        ReadError: If a process ends, or cannot make the object.

    Attributes:
        jobs: Queue of requests; None tells a supervisor to end.
        calls: The epoch calls that every copy of the object must run, in this order.
        broken: Makes the error of a pool that has stopped; None while it runs. An error that was
            kept would keep the frames that it passed through, and so the loader and its processes.
        room: Bytes of shared memory per batch; 0 until the first batch has come.
        restarts: How often a process was restarted.
    """

    def __init__(
        self, items: Any, count: int, seed: int, retries: int, timeout: float | None
    ) -> None:
        self.payload = _pickled(items)
        check_can_start(type(items), b"__main__" in self.payload)
        self.seed = seed
        self.retries = retries
        self.timeout = timeout
        self.jobs: SimpleQueue[BatchRequest | Barrier | None] = SimpleQueue()
        self.calls: list[EpochCall] = []
        self.broken: Callable[[], HeadraceError] | None = None
        self.room = 0
        self.has_no_shared_memory = False
        self.restarts = 0
        self.is_close_requested = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._notices: deque[str] = deque()
        self.closing, self._close_signal = get_context("spawn").Pipe(duplex=False)
        self.supervisors = [Supervisor(self, number) for number in range(count)]
        _pools.add(self)
        try:
            for one in self.supervisors:
                one.thread.start()
            lengths = [one.ready.result() for one in self.supervisors]
        except BaseException:
            self.close()
            raise
        self._length = lengths[0]

    def length(self) -> int:
        """How many items the object has now."""
        return self._length

    def submit(self, epoch: int, number: int, indices: ItemIndices) -> "Future[Batch]":
        """Requests batch `number`."""
        self._check_process()
        request = BatchRequest(Future(), epoch, indices, number)
        self._put(request)
        return request.future

    def result(self, future: "Future[Batch]") -> Batch:
        """Waits for a batch; warns about processes that ended meanwhile."""
        try:
            batch = future.result()
        finally:
            # An error refers to this frame, and the future to the error.
            del future
        while self._notices:
            warnings.warn(self._notices.popleft(), stacklevel=3)
        return batch

    def begin_epoch(self, epoch: int) -> None:
        """Calls `on_epoch_begin` in every process."""
        self._tell("on_epoch_begin", epoch)

    def end_epoch(self, epoch: int) -> None:
        """Calls `on_epoch_end` in every process.

        Raises:
            OptionError: If it left the copies in different states.
        """
        self._tell("on_epoch_end", epoch)

    def _tell(self, name: str, epoch: int) -> None:
        self._check_process()
        last = self.calls[-1] if self.calls else None
        if last is None or last.known or (last.name, last.epoch) != (name, epoch):
            # Otherwise the consumer was interrupted while it waited for this same call.
            last = EpochCall(name, epoch)
            self.calls.append(last)
        barrier = Barrier(len(self.supervisors))
        for _ in self.supervisors:
            self._put(barrier)
        barrier.future.result()
        last.known = True
        assert last.state is not None
        self._length = last.state[1]

    def _put(self, job: BatchRequest | Barrier) -> None:
        self.jobs.put(job)
        if self.broken is not None:
            # The supervisors may have ended before they saw it.
            job.fail(self.broken())

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ReadError(
                "The worker processes belong to the process that made the loader. Make a loader in "
                "this one."
            )
        if self.broken is not None:
            raise self.broken()

    # Called by the supervisors.

    def note_state(self, call: EpochCall, state: tuple[str, int], again: bool) -> None:
        """Compares the state of a copy with that of others after the same call.

        Args:
            call: The call that the copy ran.
            state: State of the copy after it.
            again: Whether the copy is in a restarted process, which repeats earlier calls.

        Raises:
            OptionError: If they differ.
        """
        with self._lock:
            if call.state is None:
                call.state = state
            if call.state != state:
                self.broken = partial(_different_states, call.name, again)
                raise self.broken()

    def note_size(self, nbytes: int) -> None:
        """Records the size of a batch."""
        with self._lock:
            if nbytes > self.room:
                # Larger than needed: batches that grow slowly would need a new block each time.
                self.room = nbytes + nbytes // 4

    def note_death(self, text: str) -> None:
        """Counts a restarted process; the first one becomes a warning."""
        with self._lock:
            self.restarts += 1
            if self.restarts == 1:
                self._notices.append(text)

    def note_no_shared_memory(self, error: OSError) -> None:
        """Records that batches must be sent through pipes."""
        with self._lock:
            if not self.has_no_shared_memory:
                self._notices.append(
                    f"There is no shared memory for batches of {self.room} bytes "
                    f"({error.strerror}): they come through pipes, slower. In a container, allow "
                    "more of it (--shm-size)."
                )
            self.has_no_shared_memory = True

    # Closing.

    def request_close(self) -> None:
        """Asks the processes to end without waiting for them: the garbage collector calls this."""
        if self._pid == os.getpid() and not self.is_close_requested:
            self.is_close_requested = True
            self.broken = self.broken or partial(ReadError, CLOSED)
            with contextlib.suppress(OSError):
                self._close_signal.send(None)
            self.jobs.put(None)

    def close(self) -> None:
        """Ends the processes, and waits until they have ended."""
        self.request_close()
        if self._pid != os.getpid():
            return
        deadline = time.monotonic() + 3 * END_SECONDS
        for one in self.supervisors:
            if one.thread.ident is not None:
                one.thread.join(max(0.0, deadline - time.monotonic()))
        for one in self.supervisors:
            process = one.process
            if one.thread.is_alive() and process is not None:
                # It is blocked in sending a message that its process does not read.
                process.kill()
                one.thread.join(END_SECONDS)
        if not any(one.thread.is_alive() for one in self.supervisors):
            self.closing.close()
            self._close_signal.close()


_pools: "weakref.WeakSet[WorkerProcesses]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _different_states(name: str, again: bool) -> OptionError:
    """The error for copies whose orders differ after an epoch call."""
    which = "one in a process that was started again and those before" if again else "the object"
    return OptionError(
        f"{name}() left the copies of {which} in different states, so that batches would come "
        "twice and others never. Draw random numbers from a generator that the object keeps and "
        "uses nowhere else, or from numpy.random or random; or leave processes=True out."
    )


def _pickled(items: Any) -> bytes:
    try:
        return pickle.dumps(items, protocol=5)
    except Exception as error:
        raise ProcessesError(
            f"processes=True sends the {type(items).__name__} to other processes, and it does "
            f"not pickle: {text_of(error)}{_culprit(items)}. Open files and make locks where they "
            "are used, define it in a module, or leave processes=True out."
        ) from error


def _culprit(items: Any) -> str:
    """Names the attribute that does not pickle; empty if none is found."""
    for name, value in getattr(items, "__dict__", {}).items():
        try:
            pickle.dumps(value, protocol=5)
        except Exception:  # noqa: BLE001 - the value's class is the user's
            return f" (in its attribute {name!r}, a {type(value).__name__})"
    return ""
