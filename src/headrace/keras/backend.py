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

# In the order in which they are tried: backend (and extra) -> the module that it needs.
# JAX comes first: it is the smallest to install and the quickest of the three on a CPU.
BACKENDS = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow"}

# The content that Keras 3 gives its configuration file when there is none.
WRITTEN_BY_KERAS = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def choose_backend() -> str:
    """Settles which backend Keras will use, and gives its name.

    The user's word counts first: `KERAS_BACKEND`, then the `backend` entry of Keras'
    configuration file (`keras.json` in `$KERAS_HOME` or `~/.keras`). Without
    either, the first of JAX, PyTorch and TensorFlow that is installed is taken, by
    setting `KERAS_BACKEND`.

    On its first import Keras writes that file itself, naming TensorFlow whether or not
    that is installed. So an entry that names a backend which is not installed is passed
    over: silently where the file is as Keras wrote it, with a warning where somebody
    edited it. A `KERAS_BACKEND` that names such a backend is an error.

    When Keras is imported already, nothing is changed.

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
    """Settles the backend as `choose_backend` does where Keras would take one that is missing.

    Where TensorFlow is installed, or none is, Keras goes on as it does by itself.
    """
    if not os.environ.get("KERAS_BACKEND") and not _installed("tensorflow"):
        with contextlib.suppress(MissingDependencyError):
            choose_backend()


def _installed(backend: str) -> bool:
    module = BACKENDS.get(backend)
    if module is None:
        return True  # a backend that is unknown here: Keras is the judge
    spec = importlib.util.find_spec(module)
    # A folder that happens to have the name gives a spec too, without an origin.
    return spec is not None and spec.origin is not None


def _first_installed() -> str | None:
    return next((backend for backend in BACKENDS if _installed(backend)), None)


def _remedy(named: str) -> str:
    found = _first_installed()
    other = f", or set KERAS_BACKEND={found}" if found else ""
    return f'Run: pip install "headrace[{named}]"{other}.'


def _config_file() -> Path:
    """Where Keras looks for its configuration: the same rule as in `keras.src.backend.config`."""
    home = os.environ.get("KERAS_HOME")
    if home is not None:
        return Path(home).expanduser() / "keras.json"
    base = Path("~").expanduser()
    return (base if os.access(base, os.W_OK) else Path("/tmp")) / ".keras" / "keras.json"  # noqa: S108 Keras' choice


def _configuration() -> dict[str, Any]:
    """What Keras' configuration file says; empty where there is none that can be read."""
    try:
        config = json.loads(_config_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
