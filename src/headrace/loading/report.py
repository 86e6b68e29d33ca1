"""The report of a loader: where time and memory went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.errors import printable
from headrace.html import html_table
from headrace.resources import format_bytes

SHOWN_EPOCHS = 5
"""Epochs whose wall time is shown; `epoch_seconds` has all."""


@dataclass(frozen=True)
class Shuffle:
    """How well an order mixes.

    Attributes:
        mode: "exact", "windows", "batch" or "none".
        blocks_per_window: Blocks that are mixed at a time; None where single rows are.
        variance_bound: A batch statistic varies at most this much more than under
            an exact shuffle: `1 + (batch_size - 1) / blocks_per_window`; None where there is no
            such bound.
    """

    mode: str
    blocks_per_window: int | None = None
    variance_bound: float | None = None

    def __str__(self) -> str:
        if self.mode == "windows":
            return (
                f"windows of {self.blocks_per_window} blocks; a batch statistic varies at most "
                f"{self.variance_bound:.2f} times as much as under an exact shuffle"
            )
        return {
            "exact": "exact: a uniform permutation of all rows",
            "batch": "batches of neighbouring rows in random order",
            "none": "none: row order",
        }[self.mode]


def epochs_took(seconds: Sequence[float]) -> str:
    """The wall time of each epoch; of many, that of the last few."""
    few = ", ".join(f"{one:.2f} s" for one in seconds[-SHOWN_EPOCHS:])
    return f"last {SHOWN_EPOCHS}: {few}" if len(seconds) > SHOWN_EPOCHS else few


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """How much a loader handed out since it was made, and how long that took; seconds.

    Attributes:
        samples: Rows handed out.
        batches: Batches handed out.
        epochs: Epochs finished.
        seconds: Wall time: from the first request for a batch of an epoch until its last one was
            used, epochs added up. In `fit`, validation and what callbacks do at the end of an
            epoch are left out.
        epoch_seconds: The same for each epoch of `fit`, or loop, that came to its end.
        wait_for_data: What the consumer spent waiting for a batch.
        wait_share: `wait_for_data / seconds`.
    """

    samples: int
    batches: int
    epochs: int
    seconds: float
    epoch_seconds: tuple[float, ...]
    wait_for_data: float
    wait_share: float

    @property
    def samples_per_second(self) -> float:
        """Samples handed out for each second of iterating."""
        return self.samples / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as a dict that `json.dumps` takes."""
        return {**asdict(self), "samples_per_second": self.samples_per_second}

    def _rows(self) -> list[tuple[str, str]]:
        """What a person wants to see: labels, and what they name."""
        rows = [
            ("samples", f"{self.samples:,} in {self.batches:,} batches, {self.epochs} epochs"),
            ("speed", f"{self.samples_per_second:,.0f} samples/s over {self.seconds:.2f} s"),
        ]
        if self.epoch_seconds:
            rows.append(("epochs took", epochs_took(self.epoch_seconds)))
        return [*rows, ("waited for data", f"{self.wait_for_data:.2f} s ({self.wait_share:.0%})")]

    def _repr_html_(self) -> str:
        return html_table("Report of a loader", self._rows())

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join(printable(f"{label:<{width}}  {text}") for label, text in rows)


@dataclass(frozen=True, kw_only=True, repr=False)
class Report(TimeReport):
    """What a loader did since it was made.

    Times are in seconds. `read`, `decode`, `gather` and `transform` are summed over
    threads; `wait_for_room` is what the threads spent idle, because enough was
    ready; `wait_for_data` is what the consumer spent waiting for a batch.

    Attributes:
        bytes_read: Bytes fetched from files.
        bytes_decoded: Bytes of the samples handed out, before `map`.
        repaired: Blocks that the fast path could not decode and h5py did.
        repeated: Blocks that were decoded before in the same epoch, because those of different
            fields do not line up, or because a balanced epoch takes very many samples of one.
        peak_bytes: The most bytes that the loader held at a time.
        budget: The most that it was allowed to hold.
        cached: Fields held in memory as a whole.
        bad: `count`, the rows found so far that could not be read, and `rows`, the first 20 of
            them, each with its number in the data set and the reason.
        shuffle: Quality of the order.
        paths: For each field, which way it is read and why.
    """

    wait_for_room: float
    read: float
    decode: float
    gather: float
    transform: float
    bytes_read: int
    bytes_decoded: int
    repaired: int
    repeated: int
    peak_bytes: int
    budget: int
    workers: int
    cached: tuple[str, ...]
    bad: dict[str, Any]
    shuffle: dict[str, Any]
    paths: dict[str, dict[str, str]]

    def __repr__(self) -> str:
        return (
            f"<Report of {self.samples:,} samples in {self.batches:,} batches: "
            f"{self.samples_per_second:,.0f} samples/s, waited for data {self.wait_share:.0%}, "
            f"peak {format_bytes(self.peak_bytes)} of {format_bytes(self.budget)}>"
        )

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            *super()._rows(),
            (
                "threads",
                (
                    f"read {self.read:.2f} s, decode {self.decode:.2f} s, "
                    f"gather {self.gather:.2f} s, map {self.transform:.2f} s, "
                    f"idle {self.wait_for_room:.2f} s ({self.workers} workers)"
                ),
            ),
            (
                "bytes",
                (
                    f"{format_bytes(self.bytes_read)} read, "
                    f"{format_bytes(self.bytes_decoded)} handed out"
                ),
            ),
            ("memory", f"peak {format_bytes(self.peak_bytes)} of {format_bytes(self.budget)}"),
            ("shuffle", str(Shuffle(**self.shuffle))),
        ]
        if self.repaired:
            rows.append(("repaired", f"{self.repaired} blocks had to be read through h5py"))
        if self.repeated:
            rows.append(("repeated", f"{self.repeated:,} blocks were decoded more than once"))
        if self.bad["count"]:
            first = self.bad["rows"][0]
            text = f"{self.bad['count']:,} rows; row {first['row']}: {first['reason']}"
            rows.append(("unreadable", text))
        for name, path in self.paths.items():
            kept = ", kept in memory" if name in self.cached else ""
            rows.append((f"field {name}", f"{path['path']}: {path['reason']}{kept}"))
        return rows
