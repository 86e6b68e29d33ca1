"""Weights of models: Keras's own files, and those with the names of other libraries' weights."""

import re
from collections.abc import Iterator

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, names_of, shape_of
from headrace.sources.hdf5.survey import Survey

_VARIABLE = re.compile(r"(.*/)?vars/\d+")
"""A variable in the `.weights.h5` of Keras 3."""

_NAMES = frozenset(
    {
        *("kernel", "recurrent_kernel", "bias", "weight", "gamma", "beta", "embeddings"),
        *("moving_mean", "moving_variance", "running_mean", "running_var", "num_batches_tracked"),
    }
)
"""What Keras and PyTorch call the variables of a layer."""


def weights(path: str, survey: Survey) -> Iterator[Finding]:
    """Files that hold the weights of a model."""
    marks = survey.root.marks.keys()
    if "model_config" in marks:
        what, way = "a whole Keras model", f"keras.saving.load_model({path!r})"
    elif "layer_names" in marks or _are_variables(survey):
        what, way = "the weights of a Keras model", f"model.load_weights({path!r})"
    elif _have_names_of_weights(survey):
        what, way = "the weights of a model", "The program that wrote it"
    else:
        return
    text = f"This file holds {what}, and no samples to train on. {way} loads it."
    folded = {item.name: "weights" for item in survey.root.children if item.kind == "group"}
    advice = Advice("model-weights", ("/",), text)
    yield Finding(advice, names_of(survey.datasets()), folded)


def _are_variables(survey: Survey) -> bool:
    names = [item.name for item in survey.datasets()]
    return bool(names) and all(_VARIABLE.fullmatch(name) for name in names)


def _have_names_of_weights(survey: Survey) -> bool:
    """Whether all datasets are called as weights are, and one of them is a matrix."""
    items = survey.datasets()
    last = [re.split(r"[./]", item.name.partition(":")[0])[-1] for item in items]
    matrices = [len(shape_of(item)) > 1 for item in items]
    return len(items) > 1 and _NAMES.issuperset(last) and any(matrices)
