"""The supervisor thread of one worker process: sends it requests, and restarts it."""

import contextlib
import itertools
import os
import pickle
import secrets
import signal
import threading
import traceback
from concurrent.futures import Future, wait
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headrace.errors import ProcessesError, ReadError
from headrace.loading.items.batch import Batch, ItemIndices, batch_name
from headrace.loading.items.failures import add_note, unpickled
from headrace.loading.items.main_guard import NO_GUARD_CODE, no_guard_message
from headrace.loading.items.process import (
    CLOSED,
    PoolClosed,
    ProcessEnded,
    ProcessHangs,
    WorkerProcess,
)
from headrace.loading.items.threads import WAY_OUT
from headrace.loading.timeouts import timeout_error

if TYPE_CHECKING:
    from headrace.loading.items.process_pool import WorkerProcesses

START_SECONDS = 60.0
"""The least that a process may take to start, whatever `timeout=` is: it imports libraries."""


class BatchRequest(NamedTuple):
    """A request for one batch, and the future of its result."""

    future: "Future[Batch]"
    epoch: int
    indices: ItemIndices
    number: int

    def fail(self, error: BaseException) -> None:
        """Sets an error as the result."""
        with contextlib.suppress(Exception):  # it may be cancelled, or have a result
            self.future.set_exception(error)


class Barrier:
    """A barrier: no supervisor takes another job before all have arrived."""

    def __init__(self, count: int) -> None:
        self.future: Future[None] = Future()
        self._lock = threading.Lock()
        self._missing = count
        self._error: BaseException | None = None

    def arrive(self, error: BaseException | None = None) -> None:
        """Counts one more supervisor as arrived, perhaps with an error."""
        with self._lock:
            self._missing -= 1
            self._error = self._error or error
            if self._missing:
                return
        if self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._error)

    fail = arrive


class Supervisor:
    """Takes requests from the pool's queue, and has one process answer them, one at a time.

    A process that ends is restarted and brought to the state of the others: it repeats all epoch
    calls so far.
    """

    def __init__(self, pool: "WorkerProcesses", number: int) -> None:
        self._pool = pool
        self.process: WorkerProcess | None = None
        self.block: SharedMemory | None = None
        self._calls_made = 0
        self.ready: Future[int] = Future()
        self.thread = threading.Thread(
            target=self._run, name=f"headrace-worker-{number}", daemon=True
        )

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Processes inherit the mask, because they cannot ignore Ctrl-C yet while they start.
            # The resource tracker is started first: its start would unblock the signal.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            try:
                self.ready.set_result(self._start())
            except BaseException as error:  # noqa: BLE001 - relayed
                self.ready.set_exception(self._first_error(error))
            while (job := self._pool.jobs.get()) is not None:
                self._do(job)
                # Do not keep the batch alive until the next job comes.
                del job
        finally:
            # Tells the next supervisor to end.
            self._pool.jobs.put(None)
            self._end_process()
            self._remove_block()

    def _do(self, job: BatchRequest | Barrier) -> None:
        if self._pool.broken is not None:
            job.fail(self._pool.broken())
        elif isinstance(job, Barrier):
            try:
                self._with_retries(self._catch_up, "an epoch")
            except BaseException as error:  # noqa: BLE001 - relayed
                job.arrive(error)
            else:
                job.arrive()
            # A supervisor that took two barrier jobs would leave another one without any.
            wait([job.future])
        elif job.future.set_running_or_notify_cancel():
            name = batch_name(job.indices, job.number)
            try:
                batch = self._with_retries(lambda: self._make(job, name), name)
            except BaseException as error:  # noqa: BLE001 - relayed
                job.future.set_exception(error)
            else:
                job.future.set_result(batch)

    def _with_retries(self, work: Any, name: str) -> Any:
        """Runs `work`, which needs the process; repeats it if the process ends meanwhile.

        Raises:
            ReadError: If it ends more than `retries` times; BatchTimeoutError if it hangs.
        """
        if self.process is not None and self.process.has_ended:
            self._note(self.process.ended(), "while it had nothing to do")
        for deaths in itertools.count(1):
            try:
                if self.process is None:
                    self._start_again()
                return work()
            except ProcessEnded as end:
                if deaths > self._pool.retries:
                    self._end_process()
                    raise self._retries_error(end, name, deaths) from None
                self._note(end, f"while {self._doing}")
            except ProcessHangs as hang:
                self._end_process()
                raise self._hang_error(hang) from None
        raise AssertionError("unreachable")

    # Requests to the process.

    def _start(self) -> int:
        """Starts a process; returns the length of the object in it."""
        self._doing = "starting"
        self._calls_made = 0
        timeout = self._pool.timeout
        limit = None if timeout is None else max(timeout, START_SECONDS)
        self._limit = limit
        self.process = WorkerProcess(self._pool.seed, self._pool.closing, limit)
        if self._pool.is_close_requested:
            raise PoolClosed(CLOSED)
        self.process.send(self._pool.payload)
        (length,) = self._answer()
        return int(length)

    def _start_again(self) -> None:
        try:
            self._start()
            self._catch_up()
        except (ProcessEnded, ProcessHangs):
            raise
        except BaseException:
            # The object raised an error, so its copy cannot reach the state of the others.
            self._end_process()
            raise

    def _catch_up(self) -> None:
        """Makes the process run the epoch calls that it has not run yet."""
        assert self.process is not None
        while self._calls_made < len(self._pool.calls):
            call = self._pool.calls[self._calls_made]
            self._ask(call.name, (call.name, call.epoch))
            state, length = self._answer()
            self._calls_made += 1
            self._pool.note_state(call, (state, length), again=call.known)

    def _make(self, request: BatchRequest, name: str) -> Batch:
        self._catch_up()
        block = self._block()
        place = (block.name, block.size) if block else (None, 0)
        indices = (request.indices, request.number)
        self._ask(f"making {name}", ("item", request.epoch, *indices, *place))
        head, sizes, in_block = self._answer()
        self._pool.note_size(sum(sizes))
        assert self.process is not None
        if not in_block:
            buffers: list[Any] = [bytearray(self.process.receive_array()) for _ in sizes]
            return pickle.loads(head, buffers=buffers)  # noqa: S301 - the worker's own
        assert block is not None
        assert block.buf is not None
        memory = np.empty(sum(sizes), np.uint8)
        np.copyto(memory, np.frombuffer(block.buf, np.uint8, len(memory)))
        offsets = np.cumsum([0, *sizes]).tolist()
        buffers = [memory[a:b] for a, b in itertools.pairwise(offsets)]
        return pickle.loads(head, buffers=buffers)  # noqa: S301 - the worker's own

    def _ask(self, doing: str, request: tuple[Any, ...]) -> None:
        assert self.process is not None
        self._doing = doing
        self._limit = self._pool.timeout
        self.process.send(request)

    def _answer(self) -> tuple[Any, ...]:
        """The answer of the process, without the kind of answer in front.

        Raises:
            Exception: The error that the object raised there.
        """
        assert self.process is not None
        kind, *content = self.process.answer(self._limit)
        if kind != "failing":
            return tuple(content)
        said, trace = content
        error: Exception | None = None
        try:
            error = unpickled(self.process.answer(self._limit)[1])
        except ProcessEnded as end:
            self._note(end, f"after {self._doing} had failed: it could not make the error again")
        if error is None:
            error = ReadError(f"A worker process failed while {self._doing}: {said}")
        add_note(error, f"in a worker process, while {self._doing}:\n{trace}")
        raise error

    # Processes that end or hang.

    def _note(self, end: ProcessEnded, when: str) -> None:
        self._end_process()
        self._pool.note_death(
            f"A worker process {end.how} {when}, and was restarted; any batch that it was making "
            "is made again. Order and content stay the same. report() counts how often this "
            f"happens. {end.advice}".rstrip()
        )

    def _retries_error(self, end: ProcessEnded, name: str, deaths: int) -> Exception:
        times = f"{deaths} times in a row, the last time while" if deaths > 1 else "while"
        way_out = end.advice or (
            "Code that ends the process has to raise an error instead." if end.code >= 0 else ""
        )
        error = ReadError(
            f"A worker process {end.how} {times} {self._doing}. {way_out} retries="
            f"{self._pool.retries} is how often {name} is made again.".replace("  ", " ")
        )
        return _with_stack(error, end.stack)

    def _hang_error(self, hang: ProcessHangs) -> Exception:
        assert self._limit is not None
        return timeout_error(self._doing, self._limit, hang.stack, WAY_OUT, hang.state)

    def _first_error(self, error: BaseException) -> BaseException:
        """The error for a process that could not be started the first time."""
        if isinstance(error, ProcessHangs):
            return self._hang_error(error)
        if not isinstance(error, ProcessEnded):
            return error
        if error.code == NO_GUARD_CODE:
            return ProcessesError(no_guard_message("this program"))
        hint = error.advice or "It imports the program again: does that end by itself, or exit?"
        made = ReadError(f"A worker process {error.how} while starting. {hint}")
        return _with_stack(made, error.stack)

    def _end_process(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None

    # Shared memory: a little more than the largest batch so far.

    def _block(self) -> SharedMemory | None:
        """A block for one batch; None while the size of a batch is unknown."""
        room = self._pool.room
        if self.block is not None and self.block.size >= room:
            return self.block
        self._remove_block()
        if not room or self._pool.has_no_shared_memory:
            return None
        try:
            # The name contains the process that owns the memory.
            name = f"headrace-{os.getpid()}-{secrets.token_hex(4)}"
            self.block = SharedMemory(name, create=True, size=room)
            # If it were not allocated now, a full file system would kill the process that writes.
            if hasattr(os, "posix_fallocate") and hasattr(self.block, "_fd"):
                os.posix_fallocate(self.block._fd, 0, room)
        except OSError as error:
            self._remove_block()
            self._pool.note_no_shared_memory(error)
        return self.block

    def _remove_block(self) -> None:
        if self.block is not None:
            self.block.close()
            with contextlib.suppress(FileNotFoundError):
                self.block.unlink()
            self.block = None


def _with_stack(error: Exception, stack: traceback.StackSummary) -> Exception:
    if stack:
        text = "".join(stack.format())
        add_note(error, f"stack of the process (most recent call last):\n{text}")
    return error
