"""The parts of the benchmarks that read files of many kinds work: quick runs on tiny files."""

import json
from importlib.util import find_spec
from itertools import pairwise

import h5py
import numpy as np
import pytest

PARTS = ("filters", "shapes", "index", "unaligned", "cold")
CASES = ("lzf", "4B-gzip", "64B-contiguous", "b-tree", "aligned", "unaligned", "contiguous")


@pytest.fixture(scope="module")
def quick(tmp_path_factory, run_benchmarks):
    """A folder with the records and the table of a quick run."""
    folder = tmp_path_factory.mktemp("parts")
    places = ("--quick", "--data", folder / "data", "--records", folder)
    run_benchmarks("run", *places, "--only", *PARTS, "--cases", *CASES)
    run_benchmarks("report", *places)
    return folder


@pytest.fixture(scope="module")
def part(quick):
    """The outcome of a part, by its name."""

    def load(name):
        (path,) = quick.glob(f"*-{name}.json")
        return json.loads(path.read_text())[name]

    return load


@pytest.mark.parametrize("name", PARTS)
def test_quick_run_of_a_part_measures_something(part, name):
    assert part(name)["failed"] == []
    # A memory limit is not possible everywhere; the record says so.
    assert part(name)["runs"] or "memory limit" in part(name)["skipped"]


def test_files_that_were_not_asked_for_are_listed(part):
    assert part("shapes")["skipped"]["10MB-gzip"] == "not asked for"


def test_each_shape_is_measured_beside_its_ceiling(part):
    measured = {(run["layout"], run["contestant"]) for run in part("shapes")["runs"]}
    assert measured == {
        ("4B-gzip", "Headrace shuffle=True"),
        ("4B-gzip", "ceiling: read and decode"),
        ("4B-gzip", "NumPy take from RAM"),
        ("64B-contiguous", "Headrace shuffle=True"),
        ("64B-contiguous", "NumPy take from RAM"),
    }


def test_every_byte_of_a_filtered_file_is_checked(part):
    (inspection,) = part("filters")["inspections"]
    assert inspection["layout"] == "lzf"
    assert inspection["rows"] == 4096


def test_report_has_a_table_for_each_part_that_lines_up(quick):
    lines = (quick / "RESULTS.md").read_text().splitlines()
    heads = [line for line in lines if line.startswith("## ")]
    assert {"## Filters", "## Shapes", "## Index", "## Chunks that do not line up"} < {*heads}
    for above, below in pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert len(above) == len(below)


def filtered_files():
    from benchmarks.filters import FILES

    return [f for f in FILES.values() if not f.plugin or find_spec("hdf5plugin")]


def test_ceiling_decodes_every_filter(tmp_path):
    from benchmarks.contestants import CONTESTANTS
    from benchmarks.data import image_file, row_checksums
    from benchmarks.rounds import DECODE, Case, Entry
    from benchmarks.settings import QUICK

    for stored in filtered_files():
        path = image_file(tmp_path, stored, 200)
        job = Entry(DECODE, Case(stored, 200, 64, "1MB")).job(QUICK, path, 0)
        pieces = CONTESTANTS[job.contestant].load()(job).epoch(0)
        checksums = np.concatenate([row_checksums(images) for images, _ in pieces])
        with h5py.File(path, "r") as file:
            np.testing.assert_array_equal(checksums, file["checksum"][:], stored.name)


@pytest.mark.parametrize("shape", [(8, 8, 1), (224, 224, 3)])
def test_images_of_any_shape_carry_their_row(shape):
    from benchmarks.data import make_images, row_numbers

    np.testing.assert_array_equal(row_numbers(make_images(70, 3, shape)), [70, 71, 72])


def test_counts_carry_their_row():
    from benchmarks.data import make_counts, row_numbers

    counts = make_counts(70, 3, (32, 48))
    assert (counts.dtype, counts.nbytes) == (np.uint16, 3 * 3072)
    np.testing.assert_array_equal(row_numbers(counts), [70, 71, 72])


def test_masks_of_other_rows_are_found():
    from benchmarks.data import MASK_SHAPE, make_images
    from benchmarks.work import RecordedEpoch, WrongSamples

    images, masks = make_images(0, 8), make_images(0, 8, MASK_SHAPE)
    with pytest.raises(WrongSamples, match="masks of other rows"):
        RecordedEpoch(8).consume(iter([(images, np.zeros(8, np.int64), masks[::-1])]))


def runs_of(speeds, **about):
    return [
        {**about, "round": number, "samples_per_second": speed}
        for number, speed in enumerate(speeds)
    ]


def test_cold_target_compares_each_round_with_the_slower_of_disk_and_decoder():
    from benchmarks.targets import outcomes

    about = {"layout": "gzip", "cache": "cold"}
    runs = [
        *runs_of([90, 80, 90], contestant="Headrace shuffle=True", **about),
        *runs_of([500, 80, 400], contestant="disk in order", **about),
        *runs_of([100, 100, 100], contestant="decoder alone", **about),
    ]
    (outcome,) = outcomes({"cold": {"cold": {"runs": runs}}})
    assert (outcome.ratio, outcome.low, outcome.high) == (0.9, 0.9, 1.0)
    assert outcome.reached


def test_unaligned_target_is_a_ratio_of_times():
    from benchmarks.targets import outcomes

    about = {"contestant": "Headrace shuffle=True", "cache": "warm"}
    runs = runs_of([100], layout="aligned", **about) + runs_of([80], layout="unaligned", **about)
    (outcome,) = outcomes({"unaligned": {"unaligned": {"runs": runs}}})
    assert outcome.ratio == 1.25
    assert not outcome.reached


@pytest.fixture(scope="module")
def ways(tmp_path_factory, run_benchmarks):
    """The outcomes of the parts that need no file of images; and their table."""
    folder = tmp_path_factory.mktemp("ways")
    places = ("--quick", "--data", folder / "data", "--records", folder)
    cases = ("CSV files", "HDF5Matrix", "0.8 MB", "contiguous")
    packs = ("gzip to contiguous", "arrays to zstd", "training")
    parts = ("arrays", "old", "processes", "pack", "write")
    run_benchmarks("run", *places, "--only", *parts, "--cases", *cases, *packs, "row by row")
    run_benchmarks("report", *places)
    texts = [path.read_text() for path in folder.glob("*.json")]
    assert not [text for text in texts if str(folder) in text]
    records = map(json.loads, texts)
    return {r["part"]: r[r["part"]] for r in records}, (folder / "RESULTS.md").read_text()


def test_every_old_loader_does_the_same_work_in_every_way(ways):
    outcome = ways[0]["old"]
    assert outcome["failed"] == []
    held = {}
    for run in outcome["runs"]:
        if run["way"] != "sorted random rows":  # stops early
            rows = held.setdefault(run["case"], run["held"]["rows"])
            assert run["held"]["rows"] == rows > 0
    assert len(held) == 2
    assert set(outcome["skipped"]) == {"arrays in memory", "image files", "HDF5 slices"}


def test_arrays_and_processes_are_judged(ways):
    records, page = ways
    assert records["arrays"]["failed"] == records["processes"]["failed"] == []
    assert "| arrays: Headrace from_arrays / NumPy take from RAM " in page
    assert "| processes: batches of 0.8 MB, GB/s " in page
    assert "| CSV files: " in page


def test_packing_is_compared_with_reading_and_writing_alone(ways):
    records, page = ways
    part = records["pack"]
    assert part["failed"] == []
    measured = {(run["case"], run["way"]) for run in part["runs"]}
    alone = ("read alone", "write alone", "Headrace pack")
    assert measured == {
        *(("gzip to contiguous", way) for way in (*alone, "h5py, by hand")),
        *(("arrays to zstd", way) for way in alone),
        *(("training", way) for way in ("the gzip file", "packed", "packed, gzip")),
        ("quality", "packed in a random order, read in order"),
    }
    (mixed,) = [run for run in part["runs"] if run["case"] == "quality"]
    assert 0.5 < mixed["design_effect"] < 2
    assert part["skipped"]["gzip to gzip"] == "not asked for"
    assert "| pack: gzip to contiguous / the slower of reading and writing alone " in page


def test_writing_is_compared_with_the_system_alone(ways):
    records, page = ways
    part = records["write"]
    assert part["failed"] == []
    assert {run["case"] for run in part["runs"]} == {"row by row"}
    assert len({run["way"] for run in part["runs"]}) == 5
    assert part["skipped"] == {"batches": "not asked for"}
    assert "| row by row: Headrace create, length= " in page


@pytest.fixture(scope="module")
def summed_up(tmp_path_factory, run_benchmarks):
    """The outcome of the part of statistics, and its table."""
    folder = tmp_path_factory.mktemp("stats")
    places = ("--quick", "--data", folder / "data", "--records", folder)
    run_benchmarks("run", *places, "--only", "stats", "--rows", 1024)
    run_benchmarks("report", *places)
    (record,) = folder.glob("*-stats.json")
    return json.loads(record.read_text())["stats"], (folder / "RESULTS.md").read_text()


def test_every_library_finds_the_same_numbers(summed_up):
    outcome, page = summed_up
    assert outcome["failed"] == []
    measured = {(run["case"], run["way"]) for run in outcome["runs"]}
    for case in ("gzip images", "float32 table"):
        assert {(case, "Headrace stats"), (case, "NumPy, array in RAM")} <= measured
    assert ("dask.array over h5py" in outcome["missing"]) == (find_spec("dask") is None)
    assert "| stats: float32 table: Headrace stats / NumPy, array in RAM " in page


@pytest.mark.parametrize("name, error", [("mean", 0.001), ("max", 0.001), ("quantiles", 0.1)])
def test_numbers_that_are_wrong_are_found(name, error):
    from benchmarks.process import JobFailed
    from benchmarks.stats import QUANTILES, TOLERANCE, check

    numbers = {key: np.ones(3) for key in TOLERANCE}
    numbers["quantiles"] = np.ones((len(QUANTILES), 3))
    check(numbers, numbers)
    with pytest.raises(JobFailed, match=f"{name} is off by"):
        check({**numbers, name: numbers[name] + error}, numbers)


def test_a_way_that_does_other_work_has_failed():
    from benchmarks.process import JobFailed
    from benchmarks.ways import _compare

    with pytest.raises(JobFailed, match=r"sum of y of an epoch is 2\.0, and should be 3\.0"):
        _compare({"held": {"rows": 1.0, "sum of y": 2.0}}, {"rows": 1.0, "sum of y": 3.0}, False)


def test_every_way_to_split_is_measured(tmp_path, run_benchmarks):
    """With seconds and bytes, and in the table."""
    places = ("--quick", "--data", tmp_path / "data", "--records", tmp_path)
    run_benchmarks("run", *places, "--only", "splits")
    run_benchmarks("report", *places)
    (path,) = tmp_path.glob("*-splits.json")
    runs = json.loads(path.read_text())["splits"]["runs"]
    assert {run["way"] for run in runs} >= {"random", "by class", "by key", "by name", "filter"}
    assert all(run["seconds"] > 0 < run["held_bytes"] <= run["peak_bytes"] for run in runs)
    assert "| by class " in (tmp_path / "RESULTS.md").read_text()
