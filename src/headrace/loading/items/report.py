"""`ItemReport`: throughput and waiting time of an `ItemLoader`."""

from dataclasses import dataclass

from headrace.loading.report import TimeReport
from headrace.resources import format_bytes


@dataclass(frozen=True, kw_only=True, repr=False)
class ItemReport(TimeReport):
    """What a loader made by `from_sequence` did since it was made.

    Attributes:
        bytes: Of the batches handed out.
        workers: WorkerThreads or processes that call the object.
        processes: Whether they are processes.
        restarts: How often a process ended by itself, or was killed, and was restarted.
    """

    bytes: int
    workers: int
    processes: bool
    restarts: int

    def __repr__(self) -> str:
        return (
            f"<ItemReport of {self.samples:,} samples in {self.batches:,} batches: "
            f"{self.samples_per_second:,.0f} samples/s, waited for data {self.wait_share:.0%}>"
        )

    def _rows(self) -> list[tuple[str, str]]:
        kind = "processes" if self.processes else "threads"
        rows = [
            *super()._rows(),
            ("bytes", f"{format_bytes(self.bytes)} handed out"),
            ("workers", f"{self.workers} {kind}"),
        ]
        if self.restarts:
            rows.append(
                ("restarts", f"{self.restarts:,} worker processes ended and were restarted")
            )
        return rows
