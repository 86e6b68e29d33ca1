"""What a call that failed or was interrupted left open, and interrupts at chosen moments."""

import gc
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path


def open_files(folder):
    """The files in a folder that this process has open, removed ones included."""
    found = []
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # that of the listing itself
            path = str(descriptor.readlink())
            if path.startswith(f"{folder}/"):
                found.append(path)
    return found


WRITING = ("headrace-flush", "headrace-digest", "headrace-seal", "headrace-read")
"""How the names of threads begin that write."""


def threads_left(before=()):
    """The threads that write and were not there before, once they had time to end."""
    gc.collect()
    ours = [t for t in threading.enumerate() if t.name.startswith(WRITING) and t not in before]
    for thread in ours:
        if thread.ident is not None:
            thread.join(20)
    return [thread.name for thread in ours if thread.is_alive()]


OURS = ("writing/", "packing/", "creating/", "staging.", "locks.")


@contextmanager
def interrupted_at(count):
    """Raises KeyboardInterrupt in this thread, at so many calls by the code that writes.

    Where a Python function is called, Python looks for signals.

    Yields:
        A list of the function whose call was interrupted, once one was.
    """
    left = count
    where = []

    def look(frame, event, _):
        nonlocal left
        if event == "call" and not where and _is_ours(frame):
            left -= 1
            if not left:
                where.append(frame.f_code.co_qualname)
                raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        yield where
    except BaseException:
        # What came of it may be another error.
        if not where:
            raise
    finally:
        sys.setprofile(None)


def _is_ours(frame):
    """Whether a function belongs to the code that writes, or is called by it.

    Callbacks of weak references are left out: Python reports what they raise, and goes on.
    """
    if frame.f_code.co_filename == weakref.__file__:
        return False
    frames = [frame, frame.f_back, frame.f_back and frame.f_back.f_back]
    files = [some.f_code.co_filename for some in frames if some]
    return any(f"/headrace/{name}" in file for file in files for name in OURS)
