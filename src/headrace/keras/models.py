"""Loads a model from a `.keras` file, or from a user-supplied function."""

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from headrace.dataset import Dataset
from headrace.errors import MissingFileError, OptionError


def load(path: Path) -> keras.Model:
    """Loads the compiled model in a `.keras` file, without running code from the file.

    Raises:
        MissingFileError: If there is no such file.
        OptionError: If Keras cannot load the model, or the model is not compiled.
    """
    if not path.exists():
        raise MissingFileError(f"There is no model file {path}.")
    try:
        with warnings.catch_warnings():
            # Keras warns about a compiled model that was never trained: its optimizer has no
            # state but 2 counters.
            warnings.filterwarnings("ignore", r"Skipping variable loading .* has 2 variables")
            model = keras.saving.load_model(path)
    except (OSError, TypeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise OptionError(
            f"Keras cannot load the model {path}: {words} (If the model has custom classes, name "
            "a function that builds it, as file.py:function.)"
        ) from error
    return _compiled(model, str(path))


def call(function: Callable[..., Any], data: Dataset, name: str) -> keras.Model:
    """The compiled model that a function returns.

    Args:
        function: Called with `data` if it has one parameter without a default, and without
            arguments if it has none.
        data: The training data.
        name: The function's name for error messages.

    Raises:
        OptionError: If the function has more parameters, or does not return a compiled model.
    """
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise OptionError(
            f"Expected {name} to take the training data as its only argument, or no argument. "
            f"It requires: {', '.join(parameter.name for parameter in required)}."
        )
    try:
        model = function(data) if required else function()
    except SystemExit as error:
        raise OptionError(f"{name} ended the program with sys.exit().") from error
    except Exception as error:
        error.add_note(f"raised by {name}")
        raise
    return _compiled(model, name)


def _compiled(model: Any, origin: str) -> keras.Model:
    if not isinstance(model, keras.Model):
        raise OptionError(
            f"Expected a compiled keras.Model from {origin}. Received: {type(model).__name__}."
        )
    if not model.compiled:
        raise OptionError(
            f"The model from {origin} is not compiled: call model.compile(optimizer=..., "
            "loss=...) before it is saved or returned."
        )
    return model


def set_seed(seed: int) -> None:
    """Seeds Keras, so that initial weights, dropout and other random numbers are repeatable.

    Args:
        seed: 0 to 2**32 - 1.
    """
    keras.utils.set_random_seed(seed)
