"""Loads a function that is named as `file.py:function`."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from headrace.errors import MissingFileError, OptionError, did_you_mean


class _Uncached(SourceFileLoader):
    """Compiles a file each time, and keeps no bytecode beside it.

    Python takes kept bytecode for that of the file if size and second of the last change agree.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The compiled file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def file_of(reference: str) -> Path:
    """The file in `path/to/file.py:function`."""
    return Path(reference.rpartition(":")[0])


def load_function(reference: str) -> Callable[..., Any]:
    """Runs a Python file and returns one of its functions.

    As with `python file.py`, the file's folder becomes the first entry of `sys.path`, so that the
    file can import modules next to it.

    Args:
        reference: `path/to/file.py:function`.

    Raises:
        MissingFileError: If there is no such file.
        OptionError: If the reference has another form, or the file has no such function.
    """
    path, name = file_of(reference), reference.rpartition(":")[2]
    if path.suffix != ".py" or not name.isidentifier():
        raise OptionError(f"Expected file.py:function. Received: {reference}")
    if not path.is_file():
        raise MissingFileError(f"There is no Python file {path}.")
    sys.path.insert(0, str(path.parent.resolve()))
    # The module gets the file's name, so that objects that it registers with Keras can be imported
    # by that name later, unless another module of that name is loaded.
    module_name = path.stem if path.stem not in sys.modules else f"headrace_user_{path.stem}"
    loader = _Uncached(module_name, str(path))
    spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise OptionError(f"Python cannot import {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise OptionError(f"{path} ended the program with sys.exit() while it ran.") from error
    except Exception as error:
        error.add_note(f"raised by {path}")
        raise
    function = getattr(module, name, None)
    if not callable(function):
        functions = [
            key for key, value in vars(module).items() if callable(value) and key[0] != "_"
        ]
        hint = did_you_mean(name, functions)
        raise OptionError(f"There is no function {name!r} in {path}.{hint}")
    found: Callable[..., Any] = function
    return found
