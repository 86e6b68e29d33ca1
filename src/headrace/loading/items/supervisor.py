"""The thread that keeps one worker process running and sends it requests."""

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
from headrace.loading.items.failures import add_note, unpickled
from headrace.loading.items.guard import NO_GUARD_CODE, no_guard
from headrace.loading.items.making import Batch, Wanted, name_of
from headrace.loading.items.process import PoolClosed, ProcessEnded, ProcessHangs, WorkerProcess
from headrace.loading.items.threads import WAY_OUT
from headrace.loading.timeouts import timeout_error

if TYPE_CHECKING:
    from headrace.loading.items.processes import Workers

START_SECONDS = 60.0
"""The least that a process may take to start, whatever `timeout=` is: it imports libraries."""


class Request(NamedTuple):
    """A batch that is to be made."""

    future: "Future[Batch]"
    epoch: int
    wanted: Wanted
    number: int

    def fail(self, error: BaseException) -> None:
        """Hands over an error in place of the batch."""
        with contextlib.suppress(Exception):  # it may be cancelled, or have a result
            self.future.set_exception(error)


class Meeting:
    """A point that all supervisors reach before any of them takes another job."""

    def __init__(self, count: int) -> None:
        self.future: Future[None] = Future()
        self._lock = threading.Lock()
        self._missing = count
        self._error: BaseException | None = None

    def arrive(self, error: BaseException | None = None) -> None:
        """Notes that one more supervisor is there, or failed on its way."""
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

    A process that ends is started again, and brought to the state of the others: it is told of
    all epochs that began and ended so far.
    """

    def __init__(self, pool: "Workers", number: int) -> None:
        self._pool = pool
        self.process: WorkerProcess | None = None
        self.block: SharedMemory | None = None
        self._told = 0
        self.ready: Future[int] = Future()
        self.thread = threading.Thread(
            target=self._run, name=f"headrace-worker-{number}", daemon=True
        )

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Processes inherit this: they could not yet ignore Ctrl-C while they start. The
            # tracker would unblock the signal when it is started.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            try:
                self.ready.set_result(self._start())
            except BaseException as error:  # noqa: BLE001 - relayed
                self.ready.set_exception(self._first_error(error))
            while (job := self._pool.jobs.get()) is not None:
                self._do(job)
                # What was handed over is not kept until the next job comes.
                del job
        finally:
            # For the next supervisor.
            self._pool.jobs.put(None)
            self._end_process()
            self._remove_block()

    def _do(self, job: Request | Meeting) -> None:
        if self._pool.broken is not None:
            job.fail(self._pool.broken)
        elif isinstance(job, Meeting):
            try:
                self._with_retries(self._catch_up, "an epoch")
            except BaseException as error:  # noqa: BLE001 - relayed
                job.arrive(error)
            else:
                job.arrive()
            # Takes no other job until all have arrived: each of them has to.
            wait([job.future])
        elif job.future.set_running_or_notify_cancel():
            name = name_of(job.wanted, job.number)
            try:
                batch = self._with_retries(lambda: self._make(job, name), name)
            except BaseException as error:  # noqa: BLE001 - relayed
                job.future.set_exception(error)
            else:
                job.future.set_result(batch)

    def _with_retries(self, work: Any, name: str) -> Any:
        """Does something that needs the process, again if it ends meanwhile.

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
                    raise self._given_up(end, name, deaths) from None
                self._note(end, f"while {self._doing}")
            except ProcessHangs as hang:
                self._end_process()
                raise self._hang_error(hang) from None
        raise AssertionError("unreachable")

    # What the process is asked for.

    def _start(self) -> int:
        """Starts a process; returns the length of the object in it."""
        self._doing = "starting"
        self._told = 0
        timeout = self._pool.timeout
        limit = None if timeout is None else max(timeout, START_SECONDS)
        self._limit = limit
        self.process = WorkerProcess(self._pool.seed, self._pool.closing, limit)
        if self._pool.is_told_to_close:
            raise PoolClosed("The loader was closed. Make a new one.")
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
            # An error of the object: it cannot be brought to the state of the others.
            self._end_process()
            raise

    def _catch_up(self) -> None:
        """Tells the process of epochs that it does not know of."""
        assert self.process is not None
        while self._told < len(self._pool.calls):
            call = self._pool.calls[self._told]
            self._ask(call.name, (call.name, call.epoch))
            state, length = self._answer()
            self._told += 1
            self._pool.note_state(call, (state, length), again=call.known)

    def _make(self, request: Request, name: str) -> Batch:
        self._catch_up()
        block = self._block()
        place = (block.name, block.size) if block else (None, 0)
        wanted = (request.wanted, request.number)
        self._ask(f"making {name}", ("item", request.epoch, *wanted, *place))
        head, sizes, in_block = self._answer()
        self._pool.note_size(sum(sizes))
        assert self.process is not None
        if not in_block:
            buffers: list[Any] = [bytearray(self.process.piece()) for _ in sizes]
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
        """What the process answers, without its kind.

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

    # What becomes of a process that ends or hangs.

    def _note(self, end: ProcessEnded, when: str) -> None:
        self._end_process()
        self._pool.note_death(
            f"A worker process {end.how} {when}, and was started again; what it was making is made "
            f"again. Order and content stay the same. report() counts how often this happens. "
            f"{end.advice}".rstrip()
        )

    def _given_up(self, end: ProcessEnded, name: str, deaths: int) -> Exception:
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
            return ProcessesError(no_guard("this program"))
        hint = error.advice or "It imports the program again: does that end by itself, or exit?"
        made = ReadError(f"A worker process {error.how} while starting. {hint}")
        return _with_stack(made, error.stack)

    def _end_process(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None

    # Shared memory: as much as the largest batch so far took, and a little more.

    def _block(self) -> SharedMemory | None:
        """A block for one batch; None as long as it is not known how large they are."""
        room = self._pool.room
        if self.block is not None and self.block.size >= room:
            return self.block
        self._remove_block()
        if not room or self._pool.has_no_shared_memory:
            return None
        try:
            # The name says whose memory it is.
            name = f"headrace-{os.getpid()}-{secrets.token_hex(4)}"
            self.block = SharedMemory(name, create=True, size=room)
            # Otherwise a full file system kills whichever process writes to it.
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
