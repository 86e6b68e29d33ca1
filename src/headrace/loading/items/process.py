"""`WorkerProcess`: the parent's side of one worker process, its pipe, exit and stack."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import time
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from headrace.errors import ReadError
from headrace.loading.items import worker
from headrace.loading.timeouts import Deadline

CLOSED = "The loader was closed. Make a new one."

END_SECONDS = 2.0
"""How long a worker may take to end after it was told to."""

_PAUSE_SECONDS = 0.001

_STACK_SECONDS = 5.0
"""How long a worker may take to write its stack."""

_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')

_OUTERMOST = b'File "<string>", line 1 in <module>\n'
"""The last line of a stack: the command that a spawned process runs."""


class ProcessEnded(Exception):
    """The process ended by itself, or another process killed it.

    Attributes:
        how: Such as "was killed by signal 9 (SIGKILL)"; without a subject.
        advice: What to do about it; empty if nothing is known.
        code: The exit code, negative for a signal.
        stack: Where it crashed, if it wrote that.
    """

    def __init__(self, how: str, advice: str, code: int, stack: traceback.StackSummary) -> None:
        super().__init__(how)
        self.how = how
        self.advice = advice
        self.code = code
        self.stack = stack


class ProcessHangs(Exception):
    """The process did not answer in time.

    Attributes:
        stack: Stack of its main thread; empty if it could not write one.
        state: The process state that explains the hang, as a sentence; empty if there is none.
    """

    def __init__(self, stack: traceback.StackSummary, state: str) -> None:
        super().__init__(state)
        self.stack = stack
        self.state = state


class PoolClosed(ReadError):
    """The loader was closed while a request was waiting."""


class WorkerProcess:
    """A spawned process that answers one request at a time.

    Args:
        seed: Seed of its random numbers.
        closing: A pipe that becomes readable when the pool closes.
        timeout: Seconds after which sending counts as hanging; None for no limit.
    """

    def __init__(self, seed: int, closing: Connection, timeout: float | None) -> None:
        context = get_context("spawn")
        self._closing = closing
        self._connection, other = context.Pipe()
        self._stacks, stacks = context.Pipe(duplex=False)
        try:
            self.process = context.Process(
                target=worker.run, args=(other, stacks, seed), daemon=True, name="headrace-worker"
            )
            self.process.start()
        except BaseException:
            self._connection.close()
            self._stacks.close()
            raise
        finally:
            other.close()
            stacks.close()
        if timeout is not None:
            _limit(self._connection, timeout)

    def send(self, message: Any) -> None:
        """Sends a request, or the object's pickle, which is bytes.

        Raises:
            ProcessEnded: If the process is gone.
            ProcessHangs: If it does not read the message in time.
        """
        if isinstance(message, bytes):
            self._transfer(self._connection.send_bytes, message)
        else:
            self._transfer(self._connection.send, message)

    def answer(self, seconds: float | None) -> Any:
        """The next message of the process.

        Raises:
            ProcessEnded: If it ends first.
            ProcessHangs: If it takes longer than that.
            PoolClosed: If the pool is closed.
        """
        deadline = Deadline(seconds)
        while not self._has_answer(deadline.step):
            if deadline.is_over():
                raise self._hangs()
        return self._transfer(self._connection.recv)

    def receive_array(self) -> bytes:
        """Receives one array that follows an answer."""
        return bytes(self._transfer(self._connection.recv_bytes))

    def _transfer(self, move: Any, *message: Any) -> Any:
        """Sends or receives a message, and converts errors of the pipe."""
        try:
            return move(*message)
        except BlockingIOError:
            raise self._hangs() from None
        except (EOFError, OSError):
            raise self.ended() from None

    def _hangs(self) -> ProcessHangs:
        state = self._state()
        return ProcessHangs(self._stack(), state)

    def _has_answer(self, seconds: float | None) -> bool:
        """Waits up to `seconds` for an answer; checks that the process still runs."""
        found = wait([self._connection, self.process.sentinel, self._closing], seconds)
        if self._closing in found:
            raise PoolClosed(CLOSED)
        # A message that it sent before it ended is read first.
        if self._connection in found or self._connection.poll():
            return True
        # A child of its own may keep the sentinel open.
        if self.process.sentinel in found or self.process.exitcode is not None:
            raise self.ended()
        return False

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.exitcode is not None

    def ended(self) -> ProcessEnded:
        """How the process ended; called when it has ended or is about to."""
        deadline = time.monotonic() + END_SECONDS
        while (code := self.process.exitcode) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)  # another thread is in waitpid() at this moment
        if code is None:
            unknown = "ended (its exit code is not known)"
            return ProcessEnded(unknown, "", 0, traceback.StackSummary())
        how, advice = how_it_ended(code)
        return ProcessEnded(how, advice, code, self._written_stack(0.0, "Current thread"))

    def _state(self) -> str:
        """The state in /proc/PID/stat, if it explains why the process hangs."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return ""
        return {
            "T": "Its process is stopped (SIGSTOP).",
            "t": "A debugger holds its process.",
            "D": "Its process waits for a disk or a network file system.",
        }.get(stat.rpartition(")")[2].split()[0], "")

    def _stack(self) -> traceback.StackSummary:
        """The stack of the main thread of the process."""
        if worker.STACK_SIGNAL is None or self.process.pid is None:
            return traceback.StackSummary()
        with contextlib.suppress(ProcessLookupError):
            _signal_main_thread(self.process.pid, worker.STACK_SIGNAL)
            # A stopped process writes nothing; this one is killed next in any case.
            os.kill(self.process.pid, signal.SIGCONT)
        return self._written_stack(_STACK_SECONDS)

    def _written_stack(self, seconds: float, which: str = "") -> traceback.StackSummary:
        """Reads a stack that the process writes: that of the main thread by default.

        Args:
            seconds: How long to wait for it.
            which: How the stack begins, if it is that of another thread.
        """
        written = b""
        if worker.STACK_SIGNAL is None:
            return traceback.StackSummary()
        deadline = time.monotonic() + seconds
        while not written.endswith(_OUTERMOST):
            if not self._stacks.poll(max(0.0, deadline - time.monotonic())):
                break
            more = os.read(self._stacks.fileno(), 1 << 16)
            if not more:
                break
            written += more
        return _stack_in(written.decode(errors="replace"), which)

    def kill(self) -> None:
        """Kills the process, from any thread."""
        with contextlib.suppress(ValueError):  # it has ended
            self.process.kill()

    def end(self) -> None:
        """Ends the process, by SIGKILL if it does not end otherwise, and releases it."""
        self.process.terminate()
        self.process.join(END_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            # A process that waits for a disk ends when the disk answers, which may be never.
            self.process.join(END_SECONDS)
        with contextlib.suppress(ValueError):  # it still runs, as described above
            self.process.close()
        self._connection.close()
        self._stacks.close()


def _signal_main_thread(pid: int, number: int) -> None:
    """Sends a signal to the main thread of a process.

    A signal to the whole process could be handled by another thread.
    """
    tgkill = getattr(ctypes.CDLL(None), "tgkill", None)  # in glibc since 2.30
    if tgkill is None or tgkill(pid, pid, number):
        os.kill(pid, number)


def _limit(connection: Connection, seconds: float) -> None:
    """Sets a timeout for sending and receiving on a socket."""
    if not hasattr(socket, "AF_UNIX"):  # pipes of another kind
        return
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, timeval)


def _stack_in(written: str, which: str) -> traceback.StackSummary:
    """One of the stacks that `faulthandler` wrote, outermost frame first.

    Args:
        written: The stacks of all threads; the main thread comes last.
        which: First words of the wanted stack; the last stack is taken if none matches.
    """
    stacks = re.split(r"^(?=(?:Current thread|Thread) )", written, flags=re.MULTILINE)
    chosen = [text for text in stacks if text.startswith(which)] or stacks
    frames = [_FRAME.match(line) for line in chosen[-1].splitlines()]
    found = [(m[1], int(m[2]), m[3], None) for m in frames if m is not None]
    return traceback.StackSummary.from_list(found[::-1])


def how_it_ended(code: int) -> tuple[str, str]:
    """What an exit code means, and what to do about it."""
    if code >= 0:
        return f"ended with exit code {code}", ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    often, advice = _SIGNALS.get(name, ("", ""))
    return f"was killed by signal {-code} ({name}{often})", advice


_CRASH = (
    ", a crash in a compiled library",
    "A library that crashes may not allow several copies, or have run into bad data.",
)
_SIGNALS = {
    "SIGKILL": (
        ", often by the kernel's out-of-memory killer",
        "If memory ran out, use fewer workers= or smaller batches.",
    ),
    "SIGBUS": (
        ", often for want of shared memory",
        "In a container, allow more shared memory (--shm-size).",
    ),
    "SIGSEGV": _CRASH,
    "SIGABRT": _CRASH,
    "SIGILL": _CRASH,
    "SIGFPE": _CRASH,
}
