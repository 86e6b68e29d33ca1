"""A pool of worker processes that send batches through shared memory.

They are spawned and never forked: a fork copies locks that other threads hold, JAX's among them.
The object is pickled once, and goes to each of them when it starts. A thread here for each of
them (`supervisor.py`) takes requests from one queue, has its process answer them one by one, and
starts it again when it ends.
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
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import get_context
from queue import SimpleQueue
from typing import Any

from headrace.errors import HeadraceError, OptionError, ProcessesError, ReadError
from headrace.loading.items.failures import text_of
from headrace.loading.items.guard import check_can_start
from headrace.loading.items.making import Batch, Wanted
from headrace.loading.items.process import END_SECONDS
from headrace.loading.items.supervisor import Meeting, Request, Supervisor


@dataclass
class Call:
    """A call of `on_epoch_begin` or `on_epoch_end` that every copy of the object has to have.

    Attributes:
        name: Of the method.
        epoch: Which one begins or has ended.
        state: What the copies look like after it, once one of them has said so: a digest of their
            orders, and their length.
        known: Whether the consumer knows that all of them had it.
    """

    name: str
    epoch: int
    state: tuple[str, int] | None = None
    known: bool = False


class Workers:
    """Processes that have a copy of an object each.

    Args:
        items: The object; has to be picklable.
        count: How many processes.
        seed: Of their random numbers.
        retries: How often a batch is made again whose process ended.
        timeout: Seconds that a batch may take; None for no limit.

    Raises:
        ProcessesError: If the object does not pickle, or this process can start none.
        ReadError: If a process ends, or cannot make the object.

    Attributes:
        jobs: What is to be done; None tells a supervisor to end.
        calls: What every copy of the object has to be told, in this order.
        broken: Why nothing can be made any more.
        room: Bytes of shared memory for a batch; 0 before the first one.
        restarts: How often a process was started again.
    """

    def __init__(
        self, items: Any, count: int, seed: int, retries: int, timeout: float | None
    ) -> None:
        self.payload = _pickled(items)
        check_can_start(type(items), b"__main__" in self.payload)
        self.seed = seed
        self.retries = retries
        self.timeout = timeout
        self.jobs: SimpleQueue[Request | Meeting | None] = SimpleQueue()
        self.calls: list[Call] = []
        self.broken: HeadraceError | None = None
        self.room = 0
        self.has_no_shared_memory = False
        self.restarts = 0
        self.is_told_to_close = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._notices: deque[str] = deque()
        self.closing, self._told_to_close = get_context("spawn").Pipe(duplex=False)
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

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":
        """Requests batch `number`."""
        self._check_process()
        request = Request(Future(), epoch, wanted, number)
        self._put(request)
        return request.future

    def result(self, future: "Future[Batch]") -> Batch:
        """The batch, once it is made; warns of what happened meanwhile."""
        try:
            batch = future.result()
        finally:
            # An error refers to this frame, and the future to the error.
            del future
        while self._notices:
            warnings.warn(self._notices.popleft(), stacklevel=3)
        return batch

    def begin(self, epoch: int) -> None:
        """Calls `on_epoch_begin` in every process."""
        self._tell("on_epoch_begin", epoch)

    def turn(self, epoch: int) -> None:
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
            last = Call(name, epoch)
            self.calls.append(last)
        meeting = Meeting(len(self.supervisors))
        for _ in self.supervisors:
            self._put(meeting)
        meeting.future.result()
        last.known = True
        assert last.state is not None
        self._length = last.state[1]

    def _put(self, job: Request | Meeting) -> None:
        self.jobs.put(job)
        if self.broken is not None:
            # The supervisors may have ended before they saw it.
            job.fail(self.broken)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ReadError(
                "The worker processes belong to the process that made the loader. Make a loader in "
                "this one."
            )
        if self.broken is not None:
            raise self.broken

    # What the supervisors say.

    def note_state(self, call: Call, state: tuple[str, int], again: bool) -> None:
        """Compares the state of a copy with that of others after the same call.

        Args:
            call: That it has had.
            state: Of the copy now.
            again: Whether it is in a process that was started again, long after the others.

        Raises:
            OptionError: If they differ.
        """
        with self._lock:
            if call.state is None:
                call.state = state
            if call.state != state:
                self.broken = _different_states(call.name, again)
                raise self.broken

    def note_size(self, nbytes: int) -> None:
        """Notes how large a batch is."""
        with self._lock:
            if nbytes > self.room:
                # More than that, so that slowly growing batches do not need a new block each time.
                self.room = nbytes + nbytes // 4

    def note_death(self, text: str) -> None:
        """Counts a process that is started again; the first one becomes a warning."""
        with self._lock:
            self.restarts += 1
            if self.restarts == 1:
                self._notices.append(text)

    def note_no_shared_memory(self, error: OSError) -> None:
        """Notes that batches have to come through pipes."""
        with self._lock:
            if not self.has_no_shared_memory:
                self._notices.append(
                    f"There is no shared memory for batches of {self.room} bytes "
                    f"({error.strerror}): they come through pipes, slower. In a container, allow "
                    "more of it (--shm-size)."
                )
            self.has_no_shared_memory = True

    # The end.

    def tell_to_close(self) -> None:
        """Has the processes ended, without waiting for it: the garbage collector calls this."""
        if self._pid == os.getpid() and not self.is_told_to_close:
            self.is_told_to_close = True
            self.broken = self.broken or ReadError("The loader was closed. Make a new one.")
            with contextlib.suppress(OSError):
                self._told_to_close.send(None)
            self.jobs.put(None)

    def close(self) -> None:
        """Ends the processes, and waits until they have ended."""
        self.tell_to_close()
        if self._pid != os.getpid():
            return
        deadline = time.monotonic() + 3 * END_SECONDS
        for one in self.supervisors:
            if one.thread.ident is not None:
                one.thread.join(max(0.0, deadline - time.monotonic()))
        for one in self.supervisors:
            process = one.process
            if one.thread.is_alive() and process is not None:
                # It sends something that is not taken.
                process.kill()
                one.thread.join(END_SECONDS)
        if not any(one.thread.is_alive() for one in self.supervisors):
            self.closing.close()
            self._told_to_close.close()


_pools: "weakref.WeakSet[Workers]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _different_states(name: str, again: bool) -> OptionError:
    """The error for copies that the beginning or the end of an epoch left in different orders."""
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
    """The attribute that does not pickle, if it is one."""
    for name, value in getattr(items, "__dict__", {}).items():
        try:
            pickle.dumps(value, protocol=5)
        except Exception:  # noqa: BLE001 - the value's class is the user's
            return f" (in its attribute {name!r}, a {type(value).__name__})"
    return ""
