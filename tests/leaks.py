"""Finds leaked files and threads, and interrupts calls at chosen points."""

import gc
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path


def open_files(folder):
    """Paths of the files in a folder that this process has open, including deleted files."""
    found = []
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            path = str(descriptor.readlink())
            if path.startswith(f"{folder}/"):
                found.append(path)
    return found


WRITING = ("headrace-flush", "headrace-digest", "headrace-seal", "headrace-read")
"""Prefixes of the names of threads that write files."""


def threads_left(before=()):
    """Names of writing threads that are not in `before` and do not end within 20 seconds."""
    gc.collect()
    ours = [t for t in threading.enumerate() if t.name.startswith(WRITING) and t not in before]
    for thread in ours:
        if thread.ident is not None:
            thread.join(20)
    return [thread.name for thread in ours if thread.is_alive()]


WRITER_MODULES = ("writing/", "packing/", "creating/", "staging.", "locks.")


@contextmanager
def interrupted_at(count):
    """Raises KeyboardInterrupt in this thread, at the call number `count` in code that writes.

    Calls are realistic points, since Python handles signals when a Python function is called.

    Yields:
        A list, to which the name of the interrupted function is appended.
    """
    left = count
    where = []

    def count_call(frame, event, _):
        nonlocal left
        if event == "call" and not where and _is_writer_code(frame):
            left -= 1
            if not left:
                where.append(frame.f_code.co_qualname)
                raise KeyboardInterrupt

    sys.setprofile(count_call)
    try:
        yield where
    except BaseException:
        # The code under test may have replaced the KeyboardInterrupt by another error.
        if not where:
            raise
    finally:
        sys.setprofile(None)


def _is_writer_code(frame):
    """Whether a function belongs to the code that writes, or is called by it.

    Callbacks of weak references do not count, since Python only prints the errors that they raise.
    """
    if frame.f_code.co_filename == weakref.__file__:
        return False
    frames = [frame, frame.f_back, frame.f_back and frame.f_back.f_back]
    files = [some.f_code.co_filename for some in frames if some]
    return any(f"/headrace/{name}" in file for file in files for name in WRITER_MODULES)
