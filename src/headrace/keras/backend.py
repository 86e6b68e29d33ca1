"""Chooses the Keras backend before Keras is imported."""

import contextlib
import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from headrace.errors import MissingDependencyError

# Backend (and name of the extra) -> the module that it needs, in the order of preference.
# JAX is first because it is the smallest to install and the fastest of the three on a CPU.
BACKENDS = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow"}

# The configuration that Keras 3 writes when there is no configuration file.
WRITTEN_BY_KERAS = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def choose_backend() -> str:
    """Chooses the backend that Keras will use, and returns its name.

    The environment variable `KERAS_BACKEND` has precedence, then the `backend` entry of Keras'
    configuration file (`keras.json` in `$KERAS_HOME` or `~/.keras`). Without either, this
    function sets `KERAS_BACKEND` to the first of JAX, PyTorch and TensorFlow that is installed.

    On its first import Keras writes that file itself, and names TensorFlow in it whether or not
    TensorFlow is installed. An entry that names a backend that is not installed is therefore
    ignored: silently if the file is as Keras wrote it, with a warning if it was edited. If
    `KERAS_BACKEND` names a backend that is not installed, that is an error.

    If Keras is imported already, nothing changes.

    Raises:
        MissingDependencyError: If no backend is installed, or `KERAS_BACKEND` names
            one that is not.

    Example:

    ```python
    from headrace.keras.backend import choose_backend

    choose_backend()    # "jax"
    import keras
    ```
    """
    imported = getattr(sys.modules.get("keras"), "config", None)  # None while it is imported
    if imported is not None:
        return str(imported.backend())
    named = os.environ.get("KERAS_BACKEND", "")
    if named:
        if not _installed(named):
            raise MissingDependencyError(
                f"KERAS_BACKEND is {named!r}, which is not installed. {_remedy(named)}"
            )
        return named
    config = _configuration()
    configured = config.get("backend")
    if isinstance(configured, str) and _installed(configured):
        return configured
    found = _first_installed()
    if found is None:
        raise MissingDependencyError(
            "Keras needs a backend, and none is installed. Install one: "
            'pip install "headrace[jax]" (or "headrace[torch]", "headrace[tensorflow]").'
        )
    os.environ["KERAS_BACKEND"] = found
    if configured is not None and config != WRITTEN_BY_KERAS:
        warnings.warn(
            f"{_config_file()} names the backend {configured!r}, which is not installed: "
            f"using {found!r}. Set KERAS_BACKEND to choose another.",
            stacklevel=2,
        )
    return found


def choose_backend_without_tensorflow() -> None:
    """Calls `choose_backend` if Keras would otherwise choose TensorFlow and it is missing.

    If TensorFlow or no backend at all is installed, Keras proceeds as it does without Headrace.
    """
    if not os.environ.get("KERAS_BACKEND") and not _installed("tensorflow"):
        with contextlib.suppress(MissingDependencyError):
            choose_backend()


def _installed(backend: str) -> bool:
    module = BACKENDS.get(backend)
    if module is None:
        return True  # unknown here: Keras decides whether it can use this backend
    spec = importlib.util.find_spec(module)
    # A folder of that name also has a spec, but one without an origin.
    return spec is not None and spec.origin is not None


def _first_installed() -> str | None:
    return next((backend for backend in BACKENDS if _installed(backend)), None)


def _remedy(named: str) -> str:
    found = _first_installed()
    other = f", or set KERAS_BACKEND={found}" if found else ""
    return f'Run: pip install "headrace[{named}]"{other}.'


def _config_file() -> Path:
    """The path of Keras' configuration file, by the rule of `keras.src.backend.config`."""
    home = os.environ.get("KERAS_HOME")
    if home is not None:
        return Path(home).expanduser() / "keras.json"
    base = Path("~").expanduser()
    return (base if os.access(base, os.W_OK) else Path("/tmp")) / ".keras" / "keras.json"  # noqa: S108 Keras' choice


def _configuration() -> dict[str, Any]:
    """The content of Keras' configuration file; empty if it is missing or unreadable."""
    try:
        config = json.loads(_config_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
