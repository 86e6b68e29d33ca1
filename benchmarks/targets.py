"""The targets of Headrace, most of them ratios of speeds in the same record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import arrays, cold, fit, index, limit, pack, rounds, shapes, stats, unaligned
from benchmarks.summary import ceiling_of, layouts_of, speeds
from benchmarks.ways import PROCESSES

SHUFFLED, EXACT = rounds.SHUFFLED.name, rounds.EXACT.name
DECODE, TAKE = rounds.DECODE.name, rounds.TAKE.name


@dataclass(frozen=True)
class Target:
    """A figure, or a ratio of two figures, and its bound.

    Attributes:
        text: A description of the figure.
        bound: The lower bound, or the upper bound if `at_most`.
        at_most: Whether smaller figures are better.
    """

    text: str
    bound: float
    at_most: bool = False

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio <= self.bound if self.at_most else ratio >= self.bound


@dataclass(frozen=True)
class Outcome:
    """A target and its measured figure.

    Attributes:
        ratio: Ratio of the medians.
        low: Smallest ratio in a round.
        high: Largest ratio in a round.
    """

    target: Target
    ratio: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """Whether the ratio of the medians is within the bound."""
        return self.target.reached(self.ratio)


# Layout, Headrace's order, the contestant, and the least ratio of samples per second.
READ_TARGETS = (
    ("gzip", SHUFFLED, "h5py fancy indexing", 100),
    ("gzip", SHUFFLED, "h5py slices in order", 3),
    ("gzip", SHUFFLED, "tf.data, 32k buffer", 4),
    ("gzip", SHUFFLED, DECODE, 0.90),
    ("chunked", SHUFFLED, TAKE, 0.45),
    ("contiguous", EXACT, TAKE, 0.55),
)
FILTER_BOUND = 0.85
SHAPE_BOUND = 0.6
FIT_TARGET = Target(f"fit: an epoch, {fit.HEADRACE} / {fit.ARRAYS}", 1.15, at_most=True)
BUDGET_TARGET = Target("memory: the loader's peak / its budget", 1.0, at_most=True)
FLAT_BOUND = 1.25
SHAPES_BUDGET_TARGET = Target("shapes: the loader's peak / its budget", 1.0, at_most=True)
READY_BOUND = 3
INDEX_BYTES_BOUND = 40
UNALIGNED_TARGET = Target("unaligned: time of an epoch / with aligned chunks", 1.10, at_most=True)

# Layout, Headrace's order, the references (the slowest counts), and the least ratio.
COLD_TARGETS = (
    ("gzip", SHUFFLED, (cold.IN_ORDER, cold.DECODER), 0.85),
    ("chunked", SHUFFLED, (cold.IN_ORDER,), 0.85),
    ("contiguous", SHUFFLED, (cold.IN_ORDER,), 0.6),
    ("contiguous", EXACT, (cold.AT_RANDOM,), 0.9),
)

ARRAYS_TARGETS = ((arrays.TF_DATA, 5), (arrays.GRAIN, 25), (TAKE, 0.6))
PROCESSES_BOUND = 1.0
PACK_BOUND = 0.8

# File, the reference, and the least ratio of samples per second.
STATS_TARGETS = (
    (stats.IMAGES, stats.DASK, 2),
    (stats.IMAGES, stats.LOOP, 2),
    (stats.TABLE, stats.DASK, 1),
    (stats.TABLE, stats.NUMPY, 1),
)


def outcomes(records: dict[str, dict[str, Any]]) -> Iterator[Outcome]:
    """The outcomes of the targets whose parts have a record."""
    for part, judge in JUDGES.items():
        if part in records:
            yield from judge(records[part][part])


def _read_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout, headrace, other, bound in READ_TARGETS:
        ours = speeds(part, headrace, layout)
        # Contestants with data in RAM are only measured as "contiguous".
        theirs = speeds(part, other, layout) or speeds(part, other, "contiguous")
        if ours and theirs:
            target = Target(f"{layout}, warm: {headrace} / {other}", bound)
            yield _compare(target, ours, theirs)


def _fit_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    seconds: dict[str, dict[int, float]] = {fit.HEADRACE: {}, fit.ARRAYS: {}}
    for run in part["runs"]:
        seconds[run["way"]][run["round"]] = median(run["epoch_seconds"])
    if all(seconds.values()):
        yield _compare(FIT_TARGET, seconds[fit.HEADRACE], seconds[fit.ARRAYS])


def _memory_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    runs = [run for run in part["runs"] if run["way"] == limit.HEADRACE]
    for run in runs:
        times = run["decoded_bytes"] / run["limit_bytes"]
        text = f"memory: a {run['layout']} file {times:.1f} times the limit, share of rows read"
        share = float(run["finished"])
        yield Outcome(Target(text, 1.0), share, share, share)
    reports = [run["report"] for run in runs if run["finished"]]
    shares = [report["peak_bytes"] / report["budget"] for report in reports]
    if shares:
        yield Outcome(BUDGET_TARGET, max(shares), min(shares), max(shares))


def _scaling_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    lengths = sorted({run["rows"] for run in part["runs"]})
    least, most = lengths[0], lengths[-1]
    for key, name in SCALED.items():
        costs: dict[int, dict[int, float]] = {least: {}, most: {}}
        for run in part["runs"]:
            if run["rows"] in costs:
                costs[run["rows"]][run["round"]] = run[key]
        text = f"scaling: {name}, {most:,} rows / {least:,} rows"
        yield _compare(Target(text, FLAT_BOUND, at_most=True), costs[most], costs[least])


def _filter_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout in layouts_of(part):
        yield from _share_of_ceiling("filters", part, layout, FILTER_BOUND)


def _shape_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout in layouts_of(part):
        if layout != shapes.OVERHEAD:
            yield from _share_of_ceiling("shapes", part, layout, SHAPE_BOUND)
    reports = [run["report"] for run in part["runs"] if run["report"]]
    shares = [report["peak_bytes"] / report["budget"] for report in reports]
    if shares:
        yield Outcome(SHAPES_BUDGET_TARGET, max(shares), min(shares), max(shares))


def _index_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout in index.FILES:
        runs = [run for run in part["runs"] if run["layout"] == layout]
        seconds = [run["seconds"] for run in runs if run["way"] == index.HEADRACE]
        held = [
            r["resting_bytes"] / r["chunks"] for r in part["inspections"] if r["layout"] == layout
        ]
        name = f"index: {layout}"
        if seconds:
            target = Target(f"{name}, seconds to ready", READY_BOUND, at_most=True)
            yield Outcome(target, median(seconds), min(seconds), max(seconds))
        if held:
            target = Target(f"{name}, bytes held for a chunk", INDEX_BYTES_BOUND, at_most=True)
            yield Outcome(target, *held, *held, *held)


def _unaligned_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    ours = speeds(part, SHUFFLED, unaligned.ALIGNED)
    theirs = speeds(part, SHUFFLED, unaligned.UNALIGNED)
    if ours and theirs:
        # The ratio of times is the inverse ratio of speeds.
        yield _compare(UNALIGNED_TARGET, ours, theirs)


def _cold_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout, headrace, others, bound in COLD_TARGETS:
        ours = speeds(part, headrace, layout, "cold")
        theirs = [speeds(part, other, layout, "cold") for other in others]
        shared = set(ours).intersection(*theirs)
        if shared:
            slowest = {number: min(speed[number] for speed in theirs) for number in shared}
            text = f"cold, {layout}: {headrace} / {' or '.join(others)}"
            yield _compare(Target(text, bound), ours, slowest)


def _arrays_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    ours = speeds(part, arrays.HEADRACE, arrays.LAYOUT)
    for other, bound in ARRAYS_TARGETS:
        theirs = speeds(part, other, arrays.LAYOUT)
        if ours and theirs:
            yield _compare(Target(f"arrays: {arrays.HEADRACE} / {other}", bound), ours, theirs)


def _stats_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for case, other, bound in STATS_TARGETS:
        found: dict[str, dict[int, float]] = {stats.HEADRACE: {}, other: {}}
        for run in part["runs"]:
            if run["case"] == case and run["way"] in found:
                found[run["way"]][run["round"]] = run["samples_per_second"]
        if all(found.values()):
            target = Target(f"stats: {case}: {stats.HEADRACE} / {other}", bound)
            yield _compare(target, *found.values())


def _processes_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    cases = dict.fromkeys(run["case"] for run in part["runs"])
    for case in cases:
        found = [
            run["bytes_per_second"] / 1e9
            for run in part["runs"]
            if (run["case"], run["way"]) == (case, PROCESSES)
        ]
        if found:
            target = Target(f"processes: batches of {case}, GB/s", PROCESSES_BOUND)
            yield Outcome(target, median(found), min(found), max(found))


SCALED = {
    "exact_ns": "time a sample, exact order",
    "windows_ns": "time a sample, windows",
    "state_bytes": "size of the state",
    "load_seconds": "time to load the state",
}


def _pack_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for case in pack.CASES:
        found = pack.speeds_of(part["runs"], case)
        shares = pack.shares_of(found, pack.PACK) if pack.PACK in found else []
        if shares:
            text = f"pack: {case} / the slower of reading and writing alone"
            yield Outcome(Target(text, PACK_BOUND), median(shares), min(shares), max(shares))


JUDGES: dict[str, Callable[[dict[str, Any]], Iterator[Outcome]]] = {
    "read": _read_outcomes,
    "fit": _fit_outcomes,
    "memory": _memory_outcomes,
    "scaling": _scaling_outcomes,
    "filters": _filter_outcomes,
    "shapes": _shape_outcomes,
    "index": _index_outcomes,
    "unaligned": _unaligned_outcomes,
    "cold": _cold_outcomes,
    "arrays": _arrays_outcomes,
    "processes": _processes_outcomes,
    "pack": _pack_outcomes,
    "stats": _stats_outcomes,
}


def _share_of_ceiling(
    name: str, part: dict[str, Any], layout: str, bound: float
) -> Iterator[Outcome]:
    ours, ceiling = speeds(part, SHUFFLED, layout), ceiling_of(part, layout)
    theirs = speeds(part, ceiling, layout)
    if ours and theirs:
        text = f"{name}: {part['cases'][layout]['title']}: {SHUFFLED} / its ceiling"
        yield _compare(Target(text, bound), ours, theirs)


def _compare(target: Target, ours: dict[int, float], theirs: dict[int, float]) -> Outcome:
    # Ratios are taken within a round, since a disturbance affects both sides of a round.
    ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
    ratio = median(ours.values()) / median(theirs.values())
    return Outcome(target, ratio, min(ratios, default=ratio), max(ratios, default=ratio))
