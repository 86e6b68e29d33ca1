"""Errors of user-supplied objects in a form that can always be sent to another process."""

import contextlib
import pickle
import traceback
from typing import Any

from headrace.errors import DataError

_MOST_TEXT = 2_000
"""Characters of an error's message that are repeated in another message."""

_MOST_TRACE = 50_000

_ENDS_LOOPS = (StopIteration, StopAsyncIteration)

_MOST_PICKLE = 1 << 20
"""Bytes of an error that is sent from a worker process as it is."""


def as_error(error: BaseException, doing: str) -> Exception:
    """The error that the consumer gets for one that a worker had.

    What would end a program (`sys.exit`) or a loop in the consumer's place becomes a `DataError`,
    and so does an error that cannot be shown.
    """
    harmless = isinstance(error, Exception) and not isinstance(error, _ENDS_LOOPS)
    if isinstance(error, Exception) and harmless and _said(error) is not None:
        return error
    nothing = "" if harmless else ", which ends no worker"
    made = DataError(
        f"{doing[0].upper()}{doing[1:]} raised {text_of(error)}{nothing}. Raise an error that says "
        "what is wrong."
    )
    made.__cause__ = error
    return made


def text_of(error: BaseException) -> str:
    """The type of an error and what it says, cut if that is long."""
    said = _said(error)
    if said is None:
        said = "its text cannot be shown, because its __str__ fails"
    if len(said) > _MOST_TEXT:
        said = f"{said[:_MOST_TEXT]}... ({len(said):,} characters)"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _said(error: BaseException) -> str | None:
    """What an error says; None if that fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the error's class is the user's
        return None


def trace_of(error: BaseException) -> str:
    """The traceback of an error as text, cut if that is long."""
    lines = [line[:_MOST_TEXT] for line in traceback.format_exception(error)]
    trace = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return trace[-_MOST_TRACE:]


def pickled(error: Exception) -> bytes | None:
    """The pickle of an error; None if it cannot be made, is large, or gives no error again."""
    try:
        made = pickle.dumps(error)
        again = pickle.loads(made) if len(made) <= _MOST_PICKLE else None  # noqa: S301 - just made
    except Exception:  # noqa: BLE001 - the error's class is the user's
        return None
    return made if isinstance(again, Exception) else None


def unpickled(made: bytes | None) -> Exception | None:
    """The error that `pickled` made a pickle of; None if this process cannot make it."""
    error: Any = None
    if made is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(made)  # noqa: S301 - the worker's own
    return error if isinstance(error, Exception) else None


def add_note(error: BaseException, note: str) -> None:
    """Adds a note to an error, unless its class does not allow that."""
    with contextlib.suppress(Exception):
        error.add_note(note)
