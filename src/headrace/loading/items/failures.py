"""Errors of user-supplied objects, made safe to raise in the consumer and to pickle."""

import contextlib
import pickle
import traceback
from typing import Any

from headrace.errors import DataError

_MAX_MESSAGE = 2_000
"""Most characters of an error's message that another message quotes."""

_MAX_TRACEBACK = 50_000

_ENDS_LOOPS = (StopIteration, StopAsyncIteration)

_MAX_PICKLE = 1 << 20
"""Largest pickled error, in bytes, that a worker process sends."""


def as_error(error: BaseException, doing: str) -> Exception:
    """Converts an error of a worker to the error that the consumer raises.

    An error that would end the consumer's program (`sys.exit`) or loop (`StopIteration`) becomes
    a `DataError`, and so does an error whose text cannot be computed.
    """
    harmless = isinstance(error, Exception) and not isinstance(error, _ENDS_LOOPS)
    if isinstance(error, Exception) and harmless and _message_of(error) is not None:
        return error
    nothing = "" if harmless else ", which does not stop a worker"
    made = DataError(
        f"{doing[0].upper()}{doing[1:]} raised {text_of(error)}{nothing}. Raise an error that says "
        "what is wrong."
    )
    made.__cause__ = error
    return made


def text_of(error: BaseException) -> str:
    """The type and message of an error, truncated to `_MAX_MESSAGE` characters."""
    said = _message_of(error)
    if said is None:
        said = "its text cannot be shown, because its __str__ fails"
    if len(said) > _MAX_MESSAGE:
        said = f"{said[:_MAX_MESSAGE]}... ({len(said):,} characters)"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _message_of(error: BaseException) -> str | None:
    """The message of an error; None if its `__str__` fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the error's class is the user's
        return None


def trace_of(error: BaseException) -> str:
    """The traceback of an error as text, truncated to `_MAX_TRACEBACK` characters."""
    lines = [line[:_MAX_MESSAGE] for line in traceback.format_exception(error)]
    trace = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return trace[-_MAX_TRACEBACK:]


def pickled(error: Exception) -> bytes | None:
    """The pickle of an error; None if pickling or unpickling fails, or it is large."""
    try:
        made = pickle.dumps(error)
        again = pickle.loads(made) if len(made) <= _MAX_PICKLE else None  # noqa: S301 - just made
    except Exception:  # noqa: BLE001 - the error's class is the user's
        return None
    return made if isinstance(again, Exception) else None


def unpickled(made: bytes | None) -> Exception | None:
    """The error that `pickled` made a pickle of; None if unpickling fails here."""
    error: Any = None
    if made is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(made)  # noqa: S301 - the worker's own
    return error if isinstance(error, Exception) else None


def add_note(error: BaseException, note: str) -> None:
    """Adds a note to an error, unless its class does not allow that."""
    with contextlib.suppress(Exception):
        error.add_note(note)
