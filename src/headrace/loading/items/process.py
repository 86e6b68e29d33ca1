"""One worker process, as its supervising thread sees it."""

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

END_SECONDS = 2.0
"""How long a worker may take to end after it was told to."""

_PAUSE_SECONDS = 0.001

_STACK_SECONDS = 5.0
"""How long a worker may take to write where it stands."""

_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')

_OUTERMOST = b'File "<string>", line 1 in <module>\n'
"""The last line of a stack: the command that a spawned process runs."""


class ProcessEnded(Exception):
    """The process has ended by itself, or was killed from outside.

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
        stack: Where its main thread stands; empty if it could not say.
        state: What the system says of it, as a sentence; empty if that is nothing unusual.
    """

    def __init__(self, stack: traceback.StackSummary, state: str) -> None:
        super().__init__(state)
        self.stack = stack
        self.state = state


class PoolClosed(ReadError):
    """The loader was closed while the process was asked for something."""


class WorkerProcess:
    """A spawned process that answers one request at a time.

    Args:
        seed: Of its random numbers.
        closing: Becomes readable when waiting is to end.
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
            ProcessHangs: If it takes nothing.
        """
        if isinstance(message, bytes):
            self._moved(self._connection.send_bytes, message)
        else:
            self._moved(self._connection.send, message)

    def answer(self, seconds: float | None) -> Any:
        """The next message of the process.

        Raises:
            ProcessEnded: If it ends first.
            ProcessHangs: If it takes longer than that.
            PoolClosed: If the pool is closed.
        """
        patience = Deadline(seconds)
        while not self._has_answer(patience.step):
            if patience.is_over():
                raise self._hangs()
        return self._moved(self._connection.recv)

    def piece(self) -> bytes:
        """An array that follows an answer."""
        return bytes(self._moved(self._connection.recv_bytes))

    def _moved(self, move: Any, *message: Any) -> Any:
        """Sends or receives."""
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
        """Whether there is an answer; waits for one, and looks at the process now and then."""
        found = wait([self._connection, self.process.sentinel, self._closing], seconds)
        if self._closing in found:
            raise PoolClosed("The loader was closed. Make a new one.")
        # What it sent before it ended comes first.
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
        """How the process ended, which is gone or about to be."""
        deadline = time.monotonic() + END_SECONDS
        while (code := self.process.exitcode) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)  # another thread asks the system for it at this moment
        if code is None:
            unknown = "ended (its exit code is not known)"
            return ProcessEnded(unknown, "", 0, traceback.StackSummary())
        how, advice = how_it_ended(code)
        return ProcessEnded(how, advice, code, self._written_stack(0.0, "Current thread"))

    def _state(self) -> str:
        """What the system says of the process, if that explains why it does not go on."""
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
        """Where the main thread of the process stands."""
        if worker.STACK_SIGNAL is None or self.process.pid is None:
            return traceback.StackSummary()
        with contextlib.suppress(ProcessLookupError):
            _signal_main_thread(self.process.pid, worker.STACK_SIGNAL)
            # A stopped process writes nothing; this one is killed next in any case.
            os.kill(self.process.pid, signal.SIGCONT)
        return self._written_stack(_STACK_SECONDS)

    def _written_stack(self, seconds: float, which: str = "") -> traceback.StackSummary:
        """A stack that the process writes within so many seconds: that of the main thread.

        Args:
            seconds: To wait for it.
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
        """Ends the process, if need be by force, and lets go of it."""
        self.process.terminate()
        self.process.join(END_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            # A process that waits for a disk ends when the disk answers, which may be never.
            self.process.join(END_SECONDS)
        with contextlib.suppress(ValueError):  # it runs on, as above
            self.process.close()
        self._connection.close()
        self._stacks.close()


def _signal_main_thread(pid: int, number: int) -> None:
    """Sends a signal that the main thread of a process takes, before it goes on if it is stopped.

    Any thread might take one that is sent to the process, while the main thread already runs on.
    """
    tgkill = getattr(ctypes.CDLL(None), "tgkill", None)  # in glibc since 2.30
    if tgkill is None or tgkill(pid, pid, number):
        os.kill(pid, number)


def _limit(connection: Connection, seconds: float) -> None:
    """Has sending and receiving fail if nothing moves for so long."""
    if not hasattr(socket, "AF_UNIX"):  # pipes of another kind
        return
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, timeval)


def _stack_in(written: str, which: str) -> traceback.StackSummary:
    """One of the stacks that `faulthandler` wrote, outermost frame first.

    Args:
        written: By all threads; the main thread is the last one.
        which: How the stack begins; the last one, if none begins so.
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
