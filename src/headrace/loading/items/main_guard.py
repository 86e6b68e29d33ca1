"""Checks for `if __name__ == "__main__":`, since each worker process imports the program again."""

import ast
import os
import sys
import threading
from multiprocessing import current_process
from pathlib import Path
from types import FrameType

from headrace.errors import ProcessesError

NO_GUARD_CODE = 78
"""The exit code of a process that would start others while it imports the program."""

_MAIN_TESTS = {"__name__", "parent_process", "current_process"}
"""Names whose test in an `if` counts as a main guard."""


def check_can_start(kind: type, is_in_main: bool) -> None:
    """Checks that worker processes can be started here and can import what they need.

    Args:
        kind: The class of the object that is sent to them.
        is_in_main: Whether the object's pickle refers to the main program.

    Raises:
        ProcessesError: If not.
    """
    if getattr(current_process(), "_inheriting", False):
        # This process is importing a program without a main guard. The parent process knows what
        # the exit code means; a traceback from each worker would only hide its message.
        os._exit(NO_GUARD_CODE)
    if current_process().daemon:
        raise ProcessesError(
            "processes=True inside a worker process, which may not start others. Leave it out here."
        )
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    is_module = getattr(main, "__spec__", None) is not None
    if not is_module and (is_in_main if path is None else not Path(path).exists()):
        raise ProcessesError(
            f"processes=True needs the {kind.__name__} in a module that other processes can "
            "import, and this program was not loaded from a file. Put the class into a file and "
            "import it from there, or leave processes=True out."
        )
    line = _unguarded_line()
    if line is not None:
        raise ProcessesError(no_guard_message(f"line {line} of {Path(str(path)).name}"))


def no_guard_message(place: str) -> str:
    """The message for a program without a main guard."""
    return (
        f"Worker processes import the program again, and {place} would start more of them. To "
        'use processes, put what the program does below a line `if __name__ == "__main__":`; '
        "to use threads, leave processes=True out."
    )


def _unguarded_line() -> int | None:
    """The line of the main program that runs now, if no main guard encloses it; else None."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    if path is None or (spec is not None and spec.name.rpartition(".")[2] == "__main__"):
        return None  # worker processes do not import it
    line = _main_line(vars(main), path)
    if line is None:
        return None
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    return None if any(_guards(node, line) for node in ast.walk(tree)) else line


def _main_line(names: dict[str, object], path: str) -> int | None:
    """The line at the top level of the main program that is being executed."""
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    line = None
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and frame.f_globals is names and code.co_filename == path:
            line = frame.f_lineno
        frame = frame.f_back
    return line


def _guards(node: ast.AST, line: int) -> bool:
    """Whether a node of the syntax tree is a main guard around a line."""
    if not isinstance(node, (ast.If, ast.IfExp, ast.BoolOp)):
        return False
    test = node.values[0] if isinstance(node, ast.BoolOp) else node.test
    names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)}
    return bool(names & _MAIN_TESTS) and node.lineno <= line <= (node.end_lineno or line)
