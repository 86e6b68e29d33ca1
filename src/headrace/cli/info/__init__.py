"""`headrace info`: what is in a file, how it will be read, and what would make it train better."""

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
Shows what is in a file: the columns, or the groups and datasets of an HDF5
file, with shape, type and size, how the values are stored, and which way
Headrace will read them and why. Then it says what costs time or mixes badly
when a model is trained on the file, each with the command that mends it. Files
stay as they are: a command writes a new one.

HDF5 files as AnnData, MATLAB, PyTables, pandas, netCDF, NWB and Keras lay them
out are recognised, and so are samples that are groups or datasets of their own:
for those it prints the few lines of Python that read them today.

Little of the data is read, so that this takes a moment even on large files;
damage in the middle of the data is not found."""

EPILOG = f"""\
words:
  chunk          a piece of a dataset that is stored, and compressed, by itself
  direct rows    any row is read by its address in the file: the fastest way
  direct chunks  whole chunks are read, and decoded on all cores
  h5py           the HDF5 library reads, on one core

keys of --json:
  format, file, bytes, complete
             of the file; complete is false if not everything was looked at
  groups, datasets
             of an HDF5 file, how many there are
  rows, columns
             the same of files of other formats
  objects    for each object: name, kind (column, group, dataset, type, link,
             unknown), note, alike (the first object of its group that is of
             the same form, if many are), attributes; for a group objects and
             listed, how many it holds and how many of them are here, and
             content (what that is, if it is no data); for a column or dataset
             field (false if it is no field of samples by itself), shape,
             dtype, stored (how, for a person), stored_bytes, decoded_bytes,
             ratio (stored to decoded), path and reason (how it is read; null
             if it cannot be), problem (why it cannot be used), damaged; of a
             column also type and missing (whether values may be missing), of
             a dataset members (of compound values), layout, chunk_shape,
             chunk_bytes, chunks, chunks_written and filters
  advice     kind, datasets, text, language (shell, python or null), command
  setting    memory and batch_size that the advice is for
  next       x, y, sample_weight, python, shell: how to go on; null if that is
             not clear

examples:
  headrace info cats.h5
  headrace info cats.h5 --memory 256MB --batch-size 256
  headrace info cats.h5 --json | jq '.advice[].kind'

{EXIT_CODES}

0 is also the code of a file with advice, 2 that of a damaged one."""

_WIDTH_IN_A_PIPE = 100


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `info` to the commands."""
    parser = add_command(
        commands,
        "info",
        run,
        help="what is in a file, and what would train better",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="a file, or a folder of shards")
    add_format_options(parser)
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="the memory that you will train with, such as 256MB "
        "(default: a quarter of what this process may use, 2 GiB at most, as in headrace fit)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="the same of batches (default: 32)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=MOST_COLUMNS,
        metavar="N",
        help=f"objects to look at, those near the root first (default: {MOST_COLUMNS})",
    )
    parser.add_argument("--json", action="store_true", help="the same as one JSON document")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Looks at the file, and prints what is there.

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
    """The file that a path or pattern names."""
    files = find_files(path)
    if len(files) > 1:
        raise OptionError(
            f"{path!r} matches {len(files)} files, and info looks at one: {some_of(files)}. "
            "hr.open() takes them all as one data set."
        )
    return str(files[0])
