"""What Penstock wants to reach: ratios of figures in one record, because those carry over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import fit, limit

SHUFFLED = "Penstock shuffle=True"
EXACT = 'Penstock shuffle="exact"'


@dataclass(frozen=True)
class Target:
    """A ratio of two figures, and the bound that it should keep.

    Attributes:
        text: What is compared.
        bound: The least ratio, or the largest where `at_most`.
        at_most: Whether less is better.
    """

    text: str
    bound: float
    at_most: bool = False

    def reached(self, ratio: float) -> bool:
        """Whether a ratio keeps the bound."""
        return ratio <= self.bound if self.at_most else ratio >= self.bound


@dataclass(frozen=True)
class Outcome:
    """A target with what was measured.

    Attributes:
        ratio: Ratio of the medians.
        low: Least ratio of one round.
        high: Largest ratio of one round.
    """

    target: Target
    ratio: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """Whether the ratio of the medians keeps the bound."""
        return self.target.reached(self.ratio)


# Layout, Penstock's order, the contestant, and the least ratio of samples per second.
READ_TARGETS = (
    ("gzip", SHUFFLED, "h5py fancy indexing", 100),
    ("gzip", SHUFFLED, "h5py slices in order", 2.5),
    ("gzip", SHUFFLED, "tf.data, 32k buffer", 4),
    ("gzip", SHUFFLED, "ceiling: read and decode", 0.80),
    ("chunked", SHUFFLED, "NumPy take from RAM", 0.35),
    ("contiguous", EXACT, "NumPy take from RAM", 0.4),
)
FIT_TARGET = Target(f"fit: an epoch, {fit.PENSTOCK} / {fit.ARRAYS}", 1.15, at_most=True)
BUDGET_TARGET = Target("memory: the loader's peak / its budget", 1.0, at_most=True)
FLAT_BOUND = 1.25


def outcomes(records: dict[str, dict[str, Any]]) -> Iterator[Outcome]:
    """The outcome of each target that the newest records can tell about."""
    for part, judge in JUDGES.items():
        if part in records:
            yield from judge(records[part][part])


def _read_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    for layout, penstock, other, bound in READ_TARGETS:
        ours = _by_round(part, penstock, layout)
        # Data in RAM has no layout.
        theirs = _by_round(part, other, layout) or _by_round(part, other, "contiguous")
        if ours and theirs:
            target = Target(f"{layout}, warm: {penstock} / {other}", bound)
            yield _compare(target, ours, theirs)


def _fit_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    seconds: dict[str, dict[int, float]] = {fit.PENSTOCK: {}, fit.ARRAYS: {}}
    for run in part["runs"]:
        seconds[run["way"]][run["round"]] = median(run["epoch_seconds"])
    if all(seconds.values()):
        yield _compare(FIT_TARGET, seconds[fit.PENSTOCK], seconds[fit.ARRAYS])


def _memory_outcomes(part: dict[str, Any]) -> Iterator[Outcome]:
    runs = [run for run in part["runs"] if run["way"] == limit.PENSTOCK]
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


SCALED = {
    "exact_ns": "time a sample, exact order",
    "windows_ns": "time a sample, windows",
    "state_bytes": "size of the state",
    "load_seconds": "time to load the state",
}

JUDGES: dict[str, Callable[[dict[str, Any]], Iterator[Outcome]]] = {
    "read": _read_outcomes,
    "fit": _fit_outcomes,
    "memory": _memory_outcomes,
    "scaling": _scaling_outcomes,
}


def _by_round(part: dict[str, Any], contestant: str, layout: str) -> dict[int, float]:
    return {
        run["round"]: run["samples_per_second"]
        for run in part["runs"]
        if (run["contestant"], run["layout"], run["cache"]) == (contestant, layout, "warm")
    }


def _compare(target: Target, ours: dict[int, float], theirs: dict[int, float]) -> Outcome:
    # Rounds are interleaved: what disturbs one side of a round disturbs the other too.
    ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
    ratio = median(ours.values()) / median(theirs.values())
    return Outcome(target, ratio, min(ratios, default=ratio), max(ratios, default=ratio))
