"""The command line: `python -m benchmarks run` measures, `report` shows."""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import (
    arrays,
    cold,
    filters,
    fit,
    index,
    limit,
    machine,
    old,
    pack,
    processes,
    read,
    records,
    render,
    scaling,
    shapes,
    splits,
    stats,
    steps,
    unaligned,
    write,
)
from benchmarks.contestants import CONTESTANTS
from benchmarks.data import LAYOUTS
from benchmarks.process import JobFailed
from benchmarks.settings import FULL, HERE, QUICK, Settings

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "read": read.measure,
    "fit": fit.measure,
    "memory": limit.measure,
    "scaling": scaling.measure,
    "filters": filters.measure,
    "shapes": shapes.measure,
    "index": index.measure,
    "unaligned": unaligned.measure,
    "cold": cold.measure,
    "arrays": arrays.measure,
    "old": old.measure,
    "processes": processes.measure,
    "pack": pack.measure,
    "write": write.measure,
    "stats": stats.measure,
    "splits": splits.measure,
    "steps": steps.measure,
}
FILES = dict.fromkeys(
    [
        *LAYOUTS,
        *filters.FILES,
        *shapes.CASES,
        *index.FILES,
        *unaligned.FILES,
        *old.CASES,
        *processes.CASES,
        *pack.CASES,
        pack.EPOCHS,
        *write.CASES,
        *stats.CASES,
    ],
)
QUICK_PARTS = ("read", "scaling")
LISTS = ("contestants", "cases", "caches")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, or both if none is given; returns 1 if a contestant failed, else 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    status = 0
    for line in [arguments] if arguments else [["run"], ["report"]]:
        options = _parser().parse_args(line)
        status |= options.command(options)
    return status


def _run(options: argparse.Namespace) -> int:
    """Measures the parts; saves each record at once, since a full run takes over an hour."""
    settings = _settings(options)
    failures = 0
    for part in options.only or (QUICK_PARTS if options.quick else PARTS):
        record: dict[str, Any] = {
            "version": records.VERSION,
            "part": part,
            "date": records.now(),
            "command": f"python -m benchmarks run {_shown(options)}".strip(),
            "quick": options.quick,
            "machine": machine.describe(),
            "versions": machine.versions(),
            "settings": asdict(settings),
        }
        try:
            record[part] = PARTS[part](settings, options.data, _say)
        except JobFailed as error:
            _say(f"{part}: FAILED, {error}")
            failures += 1
            continue
        failures += len(record[part].get("failed", []))
        path = records.save(record, options.records or _records(options), options.data)
        _say(f"record: {path.name}")
    if failures:
        _say(f"{failures} runs FAILED")
    return 1 if failures else 0


def _report(options: argparse.Namespace) -> int:
    folder = options.records or _records(options)
    beside = HERE if folder == HERE / "records" else folder
    table = render.write(records.latest(folder), options.out or beside)
    _say(f"table: {table.name}")
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    settings = QUICK if options.quick else FULL
    chosen = {
        name: value
        for name in ("repeat", "rows", "memory", "slow_batches")
        if (value := getattr(options, name)) is not None
    }
    lists = {name: tuple(v) for name in LISTS if (v := getattr(options, name))}
    return replace(settings, **chosen, **lists)


def _records(options: argparse.Namespace) -> Path:
    """The folder of the records; those of quick runs go to the data folder, which git ignores."""
    return options.data / "quick" if options.quick else HERE / "records"


def _shown(options: argparse.Namespace) -> str:
    """The arguments that influence the figures, without those that name folders."""
    words = ["--quick"] if options.quick else []
    for name in ("only", *LISTS):
        values = getattr(options, name)
        words += [f"--{name}", *values] if values else []
    for name in ("repeat", "rows", "memory", "slow_batches"):
        value = getattr(options, name)
        words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return shlex.join(words)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands (without one: both)")
    run = commands.add_parser("run", help="measure, and keep a record")
    run.set_defaults(command=_run)
    run.add_argument("--only", nargs="+", choices=PARTS, help="parts to measure")
    run.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME")
    run.add_argument("--cases", nargs="+", choices=FILES, metavar="FILE", help="files to read")
    run.add_argument("--repeat", type=int, help=f"rounds (default: {FULL.repeat})")
    run.add_argument("--rows", type=int, help=f"images in a file (default: {FULL.rows:,})")
    run.add_argument("--memory", help=f"Headrace's budget (default: {FULL.memory})")
    run.add_argument("--slow-batches", type=int, help="batches after which slow contestants stop")
    run.add_argument("--caches", nargs="+", choices=FULL.caches, help="states of the page cache")
    report = commands.add_parser("report", help="make a table and a plot from the records")
    report.set_defaults(command=_report)
    report.add_argument("--out", type=Path, help="folder for the table and the plot")
    for command in (run, report):
        command.add_argument("--quick", action="store_true", help="tiny data, to try the runner")
        command.add_argument("--data", type=Path, default=HERE / "data", help="folder of the data")
        command.add_argument("--records", type=Path, help="folder of the records")
    return parser


if __name__ == "__main__":
    sys.exit(main())
