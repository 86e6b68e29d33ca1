"""Which backend is chosen: each case in a process of its own, where Keras is not imported yet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INSTALLED = os.environ["KERAS_BACKEND"]
OTHER = "torch" if INSTALLED != "torch" else "tensorflow"
CHOOSE = """
import json, os, sys, warnings
from headrace.keras import backend
for name in sys.argv[1].split(","):
    backend.BACKENDS[name] = "a_module_that_is_not_there"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        chosen, error = backend.choose_backend(), None
    except ImportError as e:
        chosen, error = None, f"{type(e).__name__}: {e}"
print(json.dumps({
    "chosen": chosen,
    "error": error,
    "environment": os.environ.get("KERAS_BACKEND"),
    "warnings": [str(w.message) for w in caught],
    "keras": "keras" in sys.modules,
}))
"""


@pytest.fixture
def choose(tmp_path):
    """Runs `choose_backend` with a `KERAS_BACKEND`, a `keras.json` and backends taken away."""

    def run(backend=None, config=None, missing=(OTHER,)):
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "keras.json").write_text(text)
        env = {**os.environ, "KERAS_HOME": str(tmp_path)}
        env.pop("KERAS_BACKEND")
        if backend is not None:
            env["KERAS_BACKEND"] = backend
        command = [sys.executable, "-c", CHOOSE, ",".join(missing)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


def only(backend):
    """All backends but one."""
    return tuple(name for name in ("jax", "torch", "tensorflow") if name != backend)


def test_takes_an_installed_backend_when_nothing_is_said(choose):
    """Without KERAS_BACKEND and configuration, the installed backend is set."""
    result = choose(missing=only(INSTALLED))
    assert (result["chosen"], result["environment"]) == (INSTALLED, INSTALLED)
    assert result["warnings"] == []


def test_does_not_import_keras(choose):
    """The choice is made before Keras is imported, or it would come too late."""
    assert not choose()["keras"]


def test_keras_backend_wins_over_the_configuration(choose):
    """KERAS_BACKEND is the user's last word."""
    assert choose(backend=INSTALLED, config={"backend": OTHER})["chosen"] == INSTALLED


def test_an_empty_keras_backend_says_nothing(choose):
    """KERAS_BACKEND= is as good as none, as for Keras."""
    assert choose(backend="", missing=only(INSTALLED))["chosen"] == INSTALLED


def test_a_keras_backend_that_is_not_installed_is_an_error(choose):
    """The error names the extra to install and the backend that is there."""
    error = choose(backend=OTHER, missing=only(INSTALLED))["error"]
    assert error.startswith("MissingDependencyError")
    assert f'pip install "headrace[{OTHER}]"' in error
    assert f"KERAS_BACKEND={INSTALLED}" in error


def test_a_backend_unknown_here_is_left_to_keras(choose):
    """Keras may know backends that Headrace does not."""
    assert choose(backend="openvino")["chosen"] == "openvino"


def test_a_configured_backend_is_kept(choose):
    """keras.json decides where KERAS_BACKEND is silent, and the environment stays as it is."""
    result = choose(config={"backend": INSTALLED})
    assert (result["chosen"], result["environment"]) == (INSTALLED, None)


def test_a_configured_backend_that_is_not_installed_is_passed_over_aloud(choose):
    """A stale keras.json does not stop the work; a warning names file and choice."""
    result = choose(config={"backend": OTHER, "floatx": "float32"}, missing=only(INSTALLED))
    assert result["chosen"] == INSTALLED
    [warning] = result["warnings"]
    assert "keras.json" in warning
    assert repr(OTHER) in warning
    assert repr(INSTALLED) in warning


def test_a_configuration_that_keras_wrote_itself_says_nothing(choose, tmp_path):
    """Keras writes keras.json on first import, naming TensorFlow: nobody's wish, so no warning."""
    env = {**os.environ, "KERAS_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import keras"], env=env, check=True)
    assert Path(tmp_path / "keras.json").exists()
    result = choose(missing=(*only(INSTALLED), "tensorflow") if INSTALLED != "tensorflow" else ())
    assert result["chosen"] == INSTALLED
    assert result["warnings"] == []


@pytest.mark.parametrize("config", ["not json", "[1, 2]", '{"backend": 3}'])
def test_a_configuration_without_a_backend_says_nothing(choose, config):
    """A broken keras.json is for Keras to complain about."""
    assert choose(config=config, missing=only(INSTALLED))["chosen"] == INSTALLED


def test_no_backend_at_all_is_an_error_with_the_way_out(choose):
    """The error names the extras."""
    error = choose(missing=("jax", "torch", "tensorflow"))["error"]
    assert error.startswith("MissingDependencyError")
    assert 'pip install "headrace[jax]"' in error


def test_an_imported_keras_is_believed():
    """Once Keras is imported, its backend is the answer."""
    import keras

    from headrace.keras.backend import choose_backend

    assert choose_backend() == keras.config.backend() == INSTALLED


FIRST = """
import importlib.util, os
import headrace
importlib.util.find_spec("keras")
print(os.environ.get("KERAS_BACKEND"))
import keras
print(keras.backend.backend())
"""


def test_keras_takes_the_backend_that_is_there_if_headrace_comes_first(tmp_path):
    """Where nobody names one, and TensorFlow, which Keras would take, is not installed.

    Only then: to look whether Keras is there settles nothing.
    """
    env = {**os.environ, "KERAS_HOME": str(tmp_path)}
    env.pop("KERAS_BACKEND")
    done = subprocess.run(
        [sys.executable, "-c", FIRST], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", INSTALLED]
