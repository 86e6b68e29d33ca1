"""`headrace stats`: statistics of data files, as a table, JSON or a plot."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from headrace.cli.inputs import add_fields, add_resources, open_samples, positive
from headrace.cli.parser import EXIT_CODES, add_command
from headrace.statistics import stats
from headrace.statistics.plot import check_path, import_figure
from headrace.statistics.text import WIDTH, to_text

DESCRIPTION = """\
Reads the samples of one or more files of any size once, and shows for each
field the number of values and of missing values, the mean, standard deviation,
minimum, maximum and quantiles, also for each channel of images and each feature
of vectors; and the frequency of each class. The result is the same for any
--memory and any --workers."""

EPILOG = f"""\
columns:
  count      number of values; an image has height x width x channels
  missing    number of NaN values; infinite: number of infinite values. These
             columns appear only if there are any. All other columns are
             computed from the finite values
  distinct   number of different values of a field with one value a sample, or
             of classes of one-hot rows
  std        standard deviation, as computed by numpy.std
  5%, 50%    quantiles: 5% of the values are at most this; exact for 8 and 16
             bits and if all distinct values were counted, else within 0.4 %
  [0], [1]   channels of images and features of vectors: the last axis

keys of --json:
  rows, x, y, sample_weight
             number of samples, and the names of the fields in their structure
  fields     for each field: name, shape, dtype, count, missing, infinite,
             min, max, mean, std, quantiles, distinct (null if not counted),
             more_than (the limit, if there are more distinct values), classes
             (value and count of each, or null), channels (the same statistics
             for each channel), histogram (edges and counts of bins of equal
             width; null without finite values)

examples:
  headrace stats cats.h5
  headrace stats cats.h5 --x image --y label --plot cats.png
  headrace stats 'shards/*.h5' --memory 1GB --json | jq '.fields[].mean'

{EXIT_CODES}"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `stats` to the commands."""
    parser = add_command(
        commands,
        "stats",
        run,
        help="show statistics of the values: mean, spread, range, classes",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="files with the same fields, or patterns"
    )
    data = parser.add_argument_group("data")
    add_fields(
        data,
        x="fields to summarise; several as a,b or by repeating --x (default: all)",
        y="fields with labels",
    )
    work = parser.add_argument_group("work")
    work.add_argument(
        "--distinct",
        type=positive,
        default=1000,
        metavar="N",
        help="count at most this many different values of a field (default: 1000)",
    )
    add_resources(work)
    output = parser.add_argument_group("output")
    output.add_argument("--plot", type=Path, metavar="FILE.png", help="draw histograms and classes")
    output.add_argument(
        "--json", action="store_true", help="print one JSON document instead of the table"
    )
    output.add_argument("--quiet", action="store_true", help="print no progress bar and no table")
    output.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Computes the statistics, and prints or plots them."""
    if options.plot is not None:
        # Fail before hours of reading.
        check_path(options.plot)
        import_figure()
    data = open_samples(options, options.inputs[0] if len(options.inputs) == 1 else options.inputs)
    if options.plot is not None:
        check_path(options.plot, data.pipeline.files())
    found = stats(
        data,
        memory=options.memory,
        workers=options.workers,
        distinct=options.distinct,
        progress=False if options.quiet else None,
    )
    if options.plot is not None:
        found.plot(options.plot)
    if options.json:
        print(found.to_json(), flush=True)
    elif not options.quiet:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
        text = to_text(found.to_dict(), width=max(width, WIDTH // 2), terminal=sys.stdout.isatty())
        print(_shown(text, sys.stdout.encoding), flush=True)


def _shown(text: str, encoding: str | None) -> str:
    """The text with characters that the terminal's encoding has."""
    used = encoding or "ascii"
    try:
        text.encode(used)
    except UnicodeEncodeError:
        return text.replace("█", "#").encode(used, "backslashreplace").decode(used)
    return text
