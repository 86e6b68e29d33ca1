"""Connects Headrace to Keras, without importing Keras before the user does.

An import hook calls `connect` when the program imports Keras. From then on `fit`, `evaluate` and
`predict` accept loaders on every backend.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from headrace.keras.backend import choose_backend_without_tensorflow


def connect_when_imported() -> None:
    """Calls `connect` when Keras is imported, or immediately if it is imported already."""
    if sys.modules.get("keras") is not None:
        _connect()
    elif not any(isinstance(finder, _KerasWatch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasWatch())


def _connect() -> None:
    from headrace.keras.connect import connect

    connect()


class _KerasWatch(MetaPathFinder):
    """An import hook that wraps the loader of Keras and leaves all other modules alone."""

    def __init__(self) -> None:
        self._is_searching = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> ModuleSpec | None:
        if name != "keras" or self._is_searching:
            return None
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_searching = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_connect(module: ModuleType) -> None:
                # Only here: `find_spec("keras")`, which tests whether Keras is installed, must
                # not change the environment.
                choose_backend_without_tensorflow()
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _connect()

            spec.loader.exec_module = execute_and_connect  # type: ignore[method-assign]
        return spec
