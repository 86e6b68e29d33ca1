"""`headrace pack`: rewrites samples as HDF5 that is faster to train from."""

import argparse
import json
import time
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
    seed_number,
)
from headrace.cli.parser import EXIT_CODES, add_command
from headrace.errors import OptionError
from headrace.formats import open_files
from headrace.resources import format_bytes
from headrace.staging import check_no_input

DESCRIPTION = """\
Rewrites samples as HDF5 that training reads faster and that any h5py can
read: each field contiguous, or in compressed chunks of whole samples. Rows keep
their order, or are shuffled once. An existing OUT is replaced only when the new
data are complete."""

EPILOG = f"""\
examples:
  headrace pack cats.h5 fast.h5              all fields, uncompressed
  headrace pack cats.h5 mixed.h5 --shuffle   rows in a random order
  headrace pack cats.h5 small.h5 --compression gzip --shuffle --seed 0
  headrace pack cats.h5 x.h5 --x image --y label --keep user_id
  headrace pack cats.h5 x.h5 --x image --y label --dtype label=uint8 \\
      --map mycode.py:prepare
  headrace pack 'logs/*.h5' shards --shard-size 4GB
  headrace pack 'logs/*.h5' shards --shard-size 4GB --resume

OUT stores which fields are x and y: in Python, hr.open("fast.h5"). Later,
headrace verify OUT checks every byte against the stored checksums.

{EXIT_CODES}"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `pack` to the commands."""
    parser = add_command(
        commands,
        "pack",
        run,
        help="rewrite data as a file that is faster to train from",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help="files, whose rows are concatenated, or a folder of shards",
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="the file to write; with --shard-size, a folder"
    )

    data = parser.add_argument_group("data")
    add_fields(
        data,
        x="fields that become x; several as a,b or by repeating --x (default: all fields, or x and "
        "y as stored in a packed input)",
        y="fields that become y",
    )
    data.add_argument(
        "--keep",
        action="append",
        metavar="FIELD",
        help="further fields to store that are not part of x or y, such as the key of a later "
        "split",
    )
    data.add_argument(
        "--map",
        metavar="FILE.py:FUNCTION",
        help="a function to apply to batches, as by data.map()",
    )

    data.add_argument(
        "--map-version",
        metavar="TEXT",
        help="a version of that function; --resume compares it if the function itself "
        "cannot be compared, because it refers to a lock, for example",
    )

    form = parser.add_argument_group("form")
    form.add_argument(
        "--compression",
        metavar="NAME",
        help="gzip, lzf, zstd, lz4 or bzip2; h5py needs hdf5plugin to read all but gzip and lzf "
        "(default: none)",
    )
    form.add_argument(
        "--level", type=int, metavar="N", help="compression level (default: the compressor's own)"
    )
    form.add_argument(
        "--chunk", metavar="SIZE", help="uncompressed size of a chunk (default: 2MiB)"
    )
    form.add_argument(
        "--dtype",
        action="append",
        metavar="[FIELD=]TYPE",
        help="new dtype for a field, or for all; a value that the conversion would change is an "
        "error",
    )
    form.add_argument(
        "--allow-loss", action="store_true", help="allow conversions that change values"
    )
    form.add_argument(
        "--shuffle", action="store_true", help="write the rows in a uniform random order"
    )
    form.add_argument("--seed", type=seed_number, metavar="N", help="seed of that order")
    form.add_argument(
        "--shard-size",
        metavar="SIZE",
        help="write a folder of files with this many bytes of samples each, such as 4GB, and a "
        "manifest",
    )

    work = parser.add_argument_group("work")
    add_resources(work)
    work.add_argument("--overwrite", action="store_true", help="replace an existing OUT")
    work.add_argument(
        "--resume", action="store_true", help="continue an interrupted run that wrote shards"
    )
    work.add_argument("--json", action="store_true", help="print the summary as one JSON document")
    work.add_argument("--quiet", action="store_true", help="print no progress and no summary")
    work.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Packs according to `options`, and prints a summary of the written data."""
    began = time.perf_counter()
    paths = options.input if len(options.input) > 1 else options.input[0]
    data, parts = _samples(options, paths)
    if options.map:
        check_no_input(options.out, [str(file_of(options.map))])
    packed = hr.pack(
        data,
        options.out,
        **parts,
        compression=options.compression,
        level=options.level,
        chunk=options.chunk,
        dtype=_dtypes(options.dtype),
        allow_loss=options.allow_loss,
        shuffle=options.shuffle,
        seed=options.seed,
        shard_size=options.shard_size,
        memory=options.memory,
        workers=options.workers,
        overwrite=options.overwrite,
        resume=options.resume,
        version=options.map_version,
        progress=False if options.quiet else None,
    )
    if options.quiet:
        return
    whole = hr.open(options.out, ...) if options.keep else packed
    summary = summarise(options.out, whole, time.perf_counter() - began)
    print(json.dumps(summary, indent=2) if options.json else to_text(summary), flush=True)


def _samples(options: argparse.Namespace, paths: Any) -> tuple[hr.Dataset, dict[str, Any]]:
    """The data set to pack, and the `x`, `y` and `sample_weight` for `pack` if --keep is given."""
    if not options.keep:
        data = open_samples(options, paths)
        return (data.map(load_function(options.map)) if options.map else data), {}
    parts = fields_of(options, open_files(paths, format_options(options)).first)
    if not parts["x"] or options.map:
        raise OptionError(
            "--keep requires --x and cannot be combined with --map: the function of --map gets "
            "only x and y."
        )
    options.x = [*options.x, *options.keep]
    return open_samples(options, paths), parts


def summarise(out: Path, packed: hr.Dataset, seconds: float) -> dict[str, Any]:
    """A summary of the written data, as JSON data; sizes in bytes, times in seconds."""
    files = sorted(out.iterdir()) if out.is_dir() else [out]
    return {
        "out": str(out),
        "rows": len(packed),
        "fields": {f.name: {"shape": f.shape, "dtype": str(f.dtype)} for f in packed.spec.fields},
        "files": sum(file.suffix != ".json" for file in files),
        "bytes": sum(file.stat().st_size for file in files),
        "bytes_in_memory": packed.nbytes,
        "seconds": seconds,
        "bytes_per_second": packed.nbytes / seconds,
    }


def to_text(summary: dict[str, Any]) -> str:
    """The summary as text."""
    files = f" in {summary['files']} files" if summary["files"] > 1 else ""
    share = summary["bytes"] / summary["bytes_in_memory"]
    speed = format_bytes(summary["bytes_per_second"])
    return "\n".join(
        [
            f"{summary['out']}: {summary['rows']:,} samples{files}",
            f"  size    {format_bytes(summary['bytes'])}, {share:.0%} of the size in memory",
            f"  time    {summary['seconds']:.1f} s, {speed}/s",
            f"  use     hr.open({summary['out']!r})",
        ]
    )


def _dtypes(given: list[str] | None) -> Any:
    """`dtype=` as `pack` takes it, from options such as `["label=uint8"]` or `["float32"]`."""
    if not given:
        return None
    pairs = [text.rpartition("=")[::2] for text in given]
    if any(not name for name, _ in pairs):
        if len(pairs) > 1:
            raise OptionError(
                "Expected one --dtype TYPE for all fields, or a --dtype FIELD=TYPE for each. "
                f"Received: {' '.join(given)}"
            )
        return pairs[0][1]
    return dict(pairs)
