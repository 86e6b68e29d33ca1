"""What Headrace does for Keras; nothing here imports Keras before the user does.

When the user's program imports Keras, `connect` is called: from then on
`fit`, `evaluate` and `predict` take loaders on every backend.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from headrace.keras.backend import choose_backend_without_tensorflow


def connect_when_imported() -> None:
    """Calls `connect` as soon as Keras is imported; at once if it is already."""
    if sys.modules.get("keras") is not None:
        _connect()
    elif not any(isinstance(finder, _KerasWatch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasWatch())


def _connect() -> None:
    from headrace.keras.connect import connect

    connect()


class _KerasWatch(MetaPathFinder):
    """Finds nothing itself; sees Keras being imported."""

    def __init__(self) -> None:
        self._looking = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> ModuleSpec | None:
        if name != "keras" or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_connect(module: ModuleType) -> None:
                # Not before: code that only looks whether Keras is installed changes nothing.
                choose_backend_without_tensorflow()
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _connect()

            spec.loader.exec_module = execute_and_connect  # type: ignore[method-assign]
        return spec
