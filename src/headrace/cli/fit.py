"""`headrace fit`: trains a model on data files and prints a summary."""

import argparse
import contextlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import headrace as hr
from headrace.cli.function import file_of, load_function
from headrace.cli.inputs import (
    add_fields,
    add_resources,
    fields_of,
    format_options,
    open_samples,
    positive,
    seed_number,
)
from headrace.cli.output import check_output, published
from headrace.cli.parser import EXIT_CODES, add_command
from headrace.cli.summary import summarise, to_text
from headrace.dataset import Dataset
from headrace.errors import MemoryBudgetError, OptionError, ShapeError
from headrace.formats import open_location
from headrace.keras.backend import choose_backend
from headrace.resources import default_memory, parse_bytes, too_little_memory
from headrace.staging import check_no_input

SHUFFLE: dict[str, bool | str] = {"yes": True, "exact": "exact", "batch": "batch", "no": False}

DESCRIPTION = """\
Trains a compiled Keras model on the samples of a file of any size, and
prints a summary of speed, memory and metrics. Without --model it trains a
baseline chosen from the fields: a small CNN for images, an MLP for vectors;
integer labels mean classification, float targets mean regression."""

EPILOG = f"""\
examples:
  headrace fit cats.h5 --x image --y label
  headrace fit cats.h5 --x image --y label --epochs 3 --memory 256MB \\
      --out model.keras
  headrace fit cats.h5 --x image --y label --model mycode.py:build \\
      --validation test.h5
  headrace fit cats.h5 --x image --y label --model model.keras \\
      --out model.keras --json

{EXIT_CODES}"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `fit` to the commands."""
    parser = add_command(
        commands, "fit", run, help="train a model on a file", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="file with the samples, or a folder of shards"
    )

    data = parser.add_argument_group("data")
    add_fields(
        data,
        x="input fields of the model; several as a,b or by repeating --x "
        "(default: the only field that is not y or the sample weight)",
        y="fields that the model learns to predict",
    )
    data.add_argument(
        "--validation",
        default="0.1",
        metavar="SHARE|FILE|none",
        help="validation data: a random share of the rows, a file with the same fields, or none "
        "(default: 0.1)",
    )
    data.add_argument(
        "--stratify",
        metavar="FIELD",
        help="give training and validation the same shares of the classes of this field",
    )
    data.add_argument(
        "--split-by",
        metavar="FIELD",
        help="keep all rows with the same value of this field, such as a user ID, together in "
        "either training or validation",
    )

    training = parser.add_argument_group("training")
    training.add_argument(
        "--model",
        metavar="MODEL",
        help="a file model.keras, or mycode.py:function for a function that returns a compiled "
        "model; it is called with the training data if it takes an argument (default: a baseline)",
    )
    training.add_argument(
        "--epochs", type=positive, default=1, metavar="N", help="passes over the rows (default: 1)"
    )
    training.add_argument(
        "--batch-size",
        type=positive,
        default=128,
        metavar="N",
        help="rows in a batch (default: 128)",
    )
    training.add_argument(
        "--shuffle",
        choices=SHUFFLE,
        default="yes",
        help="order of the rows. yes: the best shuffle that the file's layout allows at full "
        "speed; exact: a uniform permutation, even if reading it is slow; batch: neighbouring "
        "rows stay together, and batches come in random order; no: the order of the file "
        "(default: yes)",
    )
    training.add_argument(
        "--seed",
        type=seed_number,
        metavar="N",
        help="makes split, shuffle, weights and dropout repeatable (default: random, shown in "
        "the summary)",
    )
    add_resources(training, besides=", validation included")

    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="MODEL", help="save the model: name.keras")
    output.add_argument(
        "--json", action="store_true", help="print the summary as one JSON document on stdout"
    )
    output.add_argument("--quiet", action="store_true", help="print no progress and no summary")
    output.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Trains according to `options`, and prints the summary."""
    # With --json, stdout must contain only the document, so all other output goes to stderr.
    target = sys.stderr if options.json else sys.stdout
    with contextlib.redirect_stdout(target):
        summary = train(options, verbose=_verbosity(options))
    if options.json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    elif not options.quiet:
        print(to_text(summary), flush=True)


def train(options: argparse.Namespace, verbose: int) -> dict[str, Any]:
    """Trains according to `options`, and returns the summary.

    Cheap checks run first, so that a wrong option is reported before Keras is imported and before
    hours of training.

    Args:
        options: The parsed command line.
        verbose: As for `keras.Model.fit`.
    """
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    memory = default_memory() if options.memory is None else parse_bytes(options.memory)
    if options.out is not None:
        check_output(options.out)
    data, training, validation = _open(options, seed)
    inputs = _inputs(options, training, validation)
    if options.out is not None:
        check_no_input(options.out, inputs)
    backend = choose_backend()
    # Before the imports of Keras below, so that the user's file can configure Keras.
    own = options.model if options.model and not options.model.endswith(".keras") else None
    function = load_function(own) if own else None
    from headrace import baseline
    from headrace.keras import models

    loader, validation_loader = _loaders(options, memory, seed, data, training, validation)
    models.set_seed(seed)
    if function is not None:
        model = models.call(function, training, options.model)
    elif options.model:
        model = models.load(Path(options.model))
    else:
        model = baseline.build(training, validation=validation)
    history = model.fit(
        loader, validation_data=validation_loader, epochs=options.epochs, verbose=verbose
    )
    if options.out is not None:
        with published(options.out, inputs) as part:
            model.save(part)
    return summarise(
        file=options.file,
        backend=backend,
        model=f"{options.model or 'baseline'}, {model.count_params():,} parameters",
        training=training,
        validation=validation,
        loader=loader,
        validation_loader=validation_loader,
        history=history.history,
        saved=options.out,
    )


def _open(options: argparse.Namespace, seed: int) -> tuple[Dataset, Dataset, Dataset | None]:
    """All samples of the file, the training samples, and the validation samples, if any."""
    share = None if options.validation == "none" else _share(options.validation)
    if share is None and (options.stratify or options.split_by):
        raise OptionError(
            "--stratify and --split-by need a share of the rows for validation, such as "
            f"--validation 0.1. Received: --validation {options.validation}"
        )
    data = open_samples(options, options.file, fit=True)
    if options.validation == "none":
        return data, data, None
    if share is None:
        fields = fields_of(options, open_location(options.file))
        validation = hr.open(options.validation, **fields, **format_options(options))
        _check_same_shapes(data, validation, options.validation)
        return data, data, validation
    training, validation = data.split(
        1 - share, seed=seed, stratify=options.stratify, by=options.split_by
    )
    if not len(training) or not len(validation):
        raise OptionError(
            f"--validation {options.validation} leaves {len(training)} of {len(data)} samples to "
            f"train on and {len(validation)} to validate on. Choose another share, a file, or none."
        )
    return data, training, validation


def _inputs(
    options: argparse.Namespace, training: Dataset, validation: Dataset | None
) -> tuple[str, ...]:
    """The input files, which --out must not replace. A model file may be replaced by --out."""
    read = [training] if validation is None else [training, validation]
    files = tuple(file for data in read for file in data.pipeline.files())
    own = options.model and not options.model.endswith(".keras")
    return (*files, str(file_of(options.model))) if own else files


def _loaders(
    options: argparse.Namespace,
    memory: int,
    seed: int,
    data: Dataset,
    training: Dataset,
    validation: Dataset | None,
) -> tuple[hr.Loader, hr.Loader | None]:
    """Loaders of both parts of `data`, which share the budget of `memory` bytes."""
    size, workers = options.batch_size, options.workers
    order: dict[str, Any] = {"shuffle": SHUFFLE[options.shuffle], "seed": seed}
    if validation is None:
        return training.batch(size, **order, memory=memory, workers=workers), None
    # Validation needs less memory, since it does not shuffle.
    share = memory // 4
    try:
        return (
            training.batch(size, **order, memory=memory - share, workers=workers),
            validation.batch(size, memory=max(1, share), workers=workers),
        )
    except MemoryBudgetError as error:
        # The budget that a part needs depends on the seed, but all rows need at least as much. So
        # the message names a budget that is enough for any seed.
        validated = validation if training is data else data
        least = max(
            (_least_memory(data, size, **order) - 1) * 4 // 3 + 1,
            4 * _least_memory(validated, size),
        )
        raise too_little_memory(
            memory,
            "training gets three quarters of it, and validation one quarter; each has to hold "
            f"two batches of {size:,} and two blocks of rows that are read together",
            least,
        ) from error


def _least_memory(data: Dataset, batch_size: int, **order: Any) -> int:
    """The smallest budget with which `data` can be batched, in bytes."""
    try:
        data.batch(batch_size, memory=1, **order)
    except MemoryBudgetError as error:
        return error.least or 1
    return 1


def _check_same_shapes(training: Dataset, validation: Dataset, path: str) -> None:
    for name, field in training.spec.items():
        other = validation.spec[name]
        if other.shape != field.shape:
            raise ShapeError(
                f"Training and validation samples differ: field {name!r} has shape "
                f"{field.shape} in the training file and {other.shape} in {path}."
            )


def _share(text: str) -> float | None:
    """The value of `--validation` as a share; None if it is a file name."""
    try:
        share = float(text)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise OptionError(
            f"--validation takes a share between 0 and 1, a file, or none. Received: {text}"
        )
    return share


def _verbosity(options: argparse.Namespace) -> int:
    """Keras' `verbose`: 1 (a progress bar) in a terminal, 2 (a line an epoch) in a pipe, or 0."""
    if options.quiet:
        return 0
    if options.json:
        return 1 if sys.stderr.isatty() else 0
    return 1 if sys.stdout.isatty() else 2
