"""`timeout=`: the error for code that hangs, with its stack."""

import sys
import sysconfig
import traceback
from pathlib import Path

from headrace.errors import BatchTimeoutError

DEFAULT_TIMEOUT = 1800.0
"""Seconds that one batch may take where `timeout=` is not given."""

_STEP_SECONDS = 1.0

_OWN = str(Path(__file__).parents[1])

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")})


class Deadline:
    """Seconds that a thread has waited, counted in steps.

    Steps and not the clock, so that a program that was suspended (Ctrl-Z, a debugger) has not
    waited.

    Args:
        most: Seconds to wait; None for no limit.

    Example:

    ```python
    deadline = Deadline(0.01)
    while not deadline.is_over():
        waited = deadline.step
    ```
    """

    def __init__(self, most: float | None) -> None:
        self._most = most
        self._waited = 0.0

    @property
    def step(self) -> float | None:
        """How long to wait before the next look."""
        if self._most is None:
            return None
        left = self._most - self._waited
        return min(_STEP_SECONDS, left) if left > 0 else _STEP_SECONDS

    def is_over(self) -> bool:
        """Counts one step; whether the limit is reached."""
        if self._most is None:
            return False
        self._waited += self.step or 0.0
        return self._waited >= self._most


def stack_of_thread(ident: int) -> traceback.StackSummary:
    """Where a thread of this process stands now; empty if the thread has ended."""
    frame = sys._current_frames().get(ident)
    return traceback.StackSummary() if frame is None else traceback.extract_stack(frame)


def timeout_error(
    doing: str, seconds: float, stack: traceback.StackSummary, way_out: str, detail: str = ""
) -> BatchTimeoutError:
    """The error for code that hangs, with its stack as a note.

    Args:
        doing: What was being done, such as "making batch 3".
        seconds: The limit.
        stack: Of the thread that hangs, outermost frame first.
        way_out: What to do where the time is needed.
        detail: What else is known, as a sentence.
    """
    frames = _of_the_user(stack)
    where = ""
    if frames:
        last = _last_of_the_user(frames)
        where = f" It stands in {last.name}(), {last.filename}, line {last.lineno}."
    error = BatchTimeoutError(
        f"{doing[0].upper()}{doing[1:]} takes longer than {seconds:g} s.{where}"
        f"{' ' if detail else ''}{detail} {way_out}"
    )
    if frames:
        text = "".join(traceback.StackSummary.from_list(frames).format())
        error.add_note(f"stack of the code that hangs (most recent call last):\n{text}")
    return error


def _of_the_user(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """The frames from where this package calls other code; all if it does not."""
    frames = list(stack)
    ours = [frame.filename.startswith(_OWN) for frame in frames]
    calls = (i for i in range(1, len(frames)) if ours[i - 1] and not ours[i])
    return frames[next(calls, 0) :]


def _last_of_the_user(frames: list[traceback.FrameSummary]) -> traceback.FrameSummary:
    """The innermost frame outside of libraries; the innermost of all if there is none."""
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    return (own or frames)[-1]
