"""`headrace info`: shows what a file contains, how it is read, and advice."""

import argparse
import json
import shutil
import sys
from typing import Any

from headrace.cli.info.text import to_text
from headrace.cli.inputs import add_format_options, format_options, positive
from headrace.cli.parser import EXIT_CODES, add_command
from headrace.errors import FileFormatError, OptionError, some_of
from headrace.formats import open_location
from headrace.formats.description import MOST_COLUMNS, describe
from headrace.formats.mixing import Setting
from headrace.resources import default_memory, parse_bytes
from headrace.sources.paths import find_files

DESCRIPTION = """\
Shows what a file contains: the columns, or the groups and datasets of an
HDF5 file, with shape, type and size, how the values are stored, and how
Headrace reads them and why. Then it lists what makes training on the file slow
or its shuffle weak, each with a command that fixes it. The command writes a new
file; info itself changes nothing.

Headrace recognises the HDF5 layouts of AnnData, MATLAB, PyTables, pandas,
netCDF, NWB and Keras, and files in which each sample is a group or dataset of
its own: for those, info prints a few lines of Python that read them.

Only a small part of the data is read, so that info is fast even on large files;
it does not find damage in the middle of the data."""

EPILOG = f"""\
words:
  chunk          a piece of a dataset that is stored and compressed separately
  direct rows    single rows are read by their address in the file; fastest
  direct chunks  whole chunks are read, and decoded on all cores
  h5py           the HDF5 library reads the data, on one core

keys of --json:
  format, file, bytes, complete
             properties of the file; complete is false if --limit left out
             objects
  groups, datasets
             their numbers in an HDF5 file
  rows, columns
             their numbers in files of other formats
  objects    for each object: name, kind (column, group, dataset, type, link,
             unknown), note, alike (if many objects of its group have the same
             form: the first of them), attributes; for a group: objects and
             listed (how many it contains, and how many of them are listed
             here), and content (what it is, if it contains no samples); for a
             column or dataset: field (false if it is not a field of samples),
             shape, dtype, stored (a description of the storage),
             stored_bytes, decoded_bytes, ratio (stored to decoded), path and
             reason (how it is read; null if it cannot be read), problem (why
             it cannot be used), damaged; for a column also type and missing
             (whether values may be missing); for a dataset also members (of
             compound values), layout, chunk_shape, chunk_bytes, chunks,
             chunks_written and filters
  advice     kind, datasets, text, language (shell, python or null), command
  setting    memory and batch_size for which the advice holds
  next       x, y, sample_weight, python, shell: how to open and train on the
             file; null if the fields are not clear

examples:
  headrace info cats.h5
  headrace info cats.h5 --memory 256MB --batch-size 256
  headrace info cats.h5 --json | jq '.advice[].kind'

{EXIT_CODES}

The exit code is 0 for a file with advice, and 2 for a damaged file."""

_WIDTH_IN_A_PIPE = 100


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `info` to the commands."""
    parser = add_command(
        commands,
        "info",
        run,
        help="show what a file contains, and how to make training on it faster",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="a file, or a folder of shards")
    add_format_options(parser)
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="the memory budget of the later training, such as 256MB (default: a quarter of the "
        "memory that this process may use, 2 GiB at most, as in headrace fit)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="the batch size of the later training (default: 32)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=MOST_COLUMNS,
        metavar="N",
        help=f"number of objects to show, those near the root first (default: {MOST_COLUMNS})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Inspects the file, and prints its description.

    Raises:
        FileFormatError: After printing, if something in the file is damaged.
    """
    memory = default_memory() if options.memory is None else parse_bytes(options.memory)
    location = open_location(_one_file(options.file), **format_options(options))
    found = describe(location, Setting(memory, options.batch_size), options.limit)
    if options.json:
        text = json.dumps(found.document, indent=2, allow_nan=False)
    else:
        width = shutil.get_terminal_size((_WIDTH_IN_A_PIPE, 24)).columns
        text = to_text(found, width, sys.stdout.encoding)
    print(text, flush=True)
    if found.damage:
        number = len(found.damage) - 1
        more = f" ({number} more of its objects are damaged.)" * (number > 0)
        raise FileFormatError(found.damage[0] + more)


def _one_file(path: str) -> str:
    """The single file that a path or pattern matches."""
    files = find_files(path)
    if len(files) > 1:
        raise OptionError(
            f"{path!r} matches {len(files)} files, and info needs exactly one: {some_of(files)}. "
            "hr.open() opens them all as one data set."
        )
    return str(files[0])
