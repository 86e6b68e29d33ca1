"""The settings of a run of the benchmarks, in full size or quick."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """Sizes and counts of one run; the record contains all of them.

    Attributes:
        rows: Images in each file of the read benchmark.
        batch: Rows in a batch.
        memory: Headrace's budget; should be smaller than the decoded images.
        repeat: Rounds over all contestants.
        seconds: A timed run repeats whole epochs until this many seconds have passed.
        slow_batches: Batches after which slow contestants stop.
        caches: States of the page cache to measure: "warm", "cold" or both.
        contestants: Names of the contestants of the read benchmark; all if empty.
        cases: Names of the files to read, in the benchmarks that read several; all if empty.
        fit_rows: Images in an epoch of the fit benchmark.
        fit_epochs: Epochs of a fit; the first one compiles and is not counted.
        fit_memory: Headrace's budget in the fit benchmark.
        limit_bytes: Memory limit on the process group; the files are 8 times larger.
        limit_memory: Headrace's budget under that limit.
        order_rows: Lengths at which the cost of the order is measured.
        split_rows: Rows that are split in the splits benchmark.
        shape_share: Share of the rows of each file in the shapes benchmark.
        index_chunks: Chunks in the file of the index benchmark.
        aligned_batch: Rows in a batch of the unaligned benchmark.
        cold_rows: Images in each file of the cold benchmark.
        cold_random_rows: Images of a file that are read in random order.
        cold_batch: Rows in a batch of the cold benchmark.
        cold_limit_bytes: Memory limit on the process group; should be smaller than the files.
        cold_memory: Headrace's budget under that limit.
        stats_memory: Headrace's budget in the benchmark of statistics.
        old_share: Share of the data in the benchmarks of old code and of processes.
        pack_memory: Headrace's budget in the pack benchmark.
        step_batches: Batches in an epoch of the steps benchmark.
        light: Leave out contestants whose libraries take several seconds to import.
    """

    rows: int = 200_000
    batch: int = 256
    memory: str = "256MB"
    repeat: int = 5
    seconds: float = 3.0
    slow_batches: int = 300
    caches: tuple[str, ...] = ("warm", "cold")
    contestants: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    fit_rows: int = 50_000
    fit_epochs: int = 5
    fit_memory: str = "64MB"
    limit_bytes: int = 256 * 2**20
    limit_memory: str = "64MB"
    order_rows: tuple[int, ...] = (10_000, 1_000_000, 100_000_000)
    split_rows: int = 100_000_000
    shape_share: float = 1.0
    index_chunks: int = 1_000_000
    aligned_batch: int = 32
    cold_rows: int = 699_072
    cold_random_rows: int = 153_600
    cold_batch: int = 64
    cold_limit_bytes: int = 512 * 2**20
    cold_memory: str = "192MB"
    stats_memory: str = "256MB"
    old_share: float = 1.0
    pack_memory: str = "256MB"
    step_batches: int = 2048
    light: bool = False


FULL = Settings()

QUICK = Settings(
    rows=4096,
    batch=64,
    memory="6MB",
    repeat=1,
    seconds=0.0,
    slow_batches=4,
    caches=("warm",),
    fit_rows=2048,
    fit_epochs=2,
    fit_memory="5MB",
    limit_bytes=160 * 2**20,
    limit_memory="32MB",
    order_rows=(10_000, 100_000),
    split_rows=100_000,
    shape_share=0.002,
    index_chunks=2000,
    cold_rows=4096,
    cold_random_rows=1024,
    cold_limit_bytes=256 * 2**20,
    cold_memory="6MB",
    stats_memory="16MB",
    old_share=0.02,
    pack_memory="16MB",
    step_batches=64,
    light=True,
)
