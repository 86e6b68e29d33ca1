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
Reads the samples of one or more files once, however large they are, and
shows for each field how many values there are and are missing, their mean,
standard deviation, least, largest and quantiles, for each channel of images
and each feature of vectors as well; and how often each class comes. The
result is the same for any --memory and any --workers."""

EPILOG = f"""\
columns:
  count      values that are there; one image has height x width x channels
  missing    values that are NaN; and infinite, values that are. They are
             shown if there are any; all else is about the finite values
  distinct   different values of a field with one value a sample, or classes
             of one-hot rows
  std        standard deviation of the values, as NumPy gives it
  5%, 50%    values that so many are not above; exact for 8 and 16 bits and
             where all distinct values were counted, else within 0.4 %
  [0], [1]   channels of images and features of vectors: the last axis

keys of --json:
  rows, x, y, sample_weight
             samples, and the names of the fields in their structure
  fields     for each field: name, shape, dtype, count, missing, infinite,
             min, max, mean, std, quantiles, distinct (null if they are not
             counted), more_than (the limit, if there are more), classes
             (value and count of each, or null), channels (the numbers of
             each), histogram (edges and counts of bins of equal width; null
             without finite values)

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
        help="what the values are: mean, spread, range, classes",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="files with equal fields, or patterns"
    )
    data = parser.add_argument_group("data")
    add_fields(
        data,
        x="fields to look at; several as a,b or by repeating --x (default: all)",
        y="fields with labels",
    )
    work = parser.add_argument_group("work")
    work.add_argument(
        "--distinct",
        type=positive,
        default=1000,
        metavar="N",
        help="count so many different values of a field, at most (default: 1000)",
    )
    add_resources(work)
    output = parser.add_argument_group("output")
    output.add_argument("--plot", type=Path, metavar="FILE.png", help="draw histograms and classes")
    output.add_argument("--json", action="store_true", help="the same as one JSON document")
    output.add_argument("--quiet", action="store_true", help="no progress bar, and no table")
    output.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Looks at the samples, and prints what they are."""
    if options.plot is not None:
        # Before hours of reading.
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
    """The text with bars that the terminal can show."""
    used = encoding or "ascii"
    try:
        text.encode(used)
    except UnicodeEncodeError:
        return text.replace("█", "#").encode(used, "backslashreplace").decode(used)
    return text
