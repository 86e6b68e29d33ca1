"""The runner of the benchmarks works, from data to table: nothing here judges a figure."""

import json
from itertools import pairwise

import numpy as np
import pytest


@pytest.fixture(scope="module")
def quick(tmp_path_factory, run_benchmarks):
    """A folder with the record and the table of a quick run."""
    folder = tmp_path_factory.mktemp("benchmarks")
    places = ("--quick", "--data", folder / "data", "--records", folder)
    run_benchmarks("run", *places)
    run_benchmarks("report", *places)
    return folder


@pytest.fixture(scope="module")
def record(quick):
    (path,) = quick.glob("*-read.json")
    return json.loads(path.read_text())


def test_quick_run_measures_every_light_contestant(record):
    names = {run["contestant"] for run in record["read"]["runs"]}
    assert names >= {
        "Headrace shuffle=True",
        'Headrace shuffle="exact"',
        "h5py fancy indexing",
        "h5py slices in order",
        "NumPy take from RAM",
        "ceiling: copy in RAM",
        "ceiling: read and decode",
    }
    assert record["read"]["failed"] == []


def test_contestants_that_do_not_run_are_listed(record):
    read = record["read"]
    assert {"PyTorch DataLoader", "tf.data, 32k buffer", "Grain"} <= {
        *read["missing"],
        *read["skipped"],
    }


def test_record_keeps_machine_command_and_raw_runs(record):
    assert record["machine"]["cores_used"] >= 1
    assert record["command"] == "python -m benchmarks run --quick"
    assert all(run["rows"] > 0 and run["seconds"] > 0 for run in record["read"]["runs"])


def test_record_names_no_path(quick, record):
    assert str(quick) not in json.dumps(record)


def test_report_is_a_page_of_tables_that_line_up(quick):
    lines = (quick / "RESULTS.md").read_text().splitlines()
    assert "| h5py fancy indexing " in "\n".join(lines)
    for above, below in pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert len(above) == len(below)


def test_images_are_the_same_at_every_call_and_carry_their_row():
    from benchmarks.data import make_images, row_numbers

    images = make_images(4096, 10)
    np.testing.assert_array_equal(images, make_images(4096, 10))
    np.testing.assert_array_equal(row_numbers(images), np.arange(4096, 4106))


def test_images_compress_one_and_a_half_fold(quick):
    stored = (quick / "data" / "images-gzip-4096.h5").stat().st_size
    raw = (quick / "data" / "images-contiguous-4096.h5").stat().st_size
    assert 1.4 < raw / stored < 1.6


@pytest.fixture
def handed_out(tmp_path):
    """A small file, and an epoch of it as a contestant would hand it out."""
    from benchmarks.data import LAYOUTS, image_file, make_images, make_labels
    from benchmarks.work import RecordedEpoch

    path = image_file(tmp_path, LAYOUTS["contiguous"], 128)
    images, labels = make_images(0, 128), make_labels(128, sort=False)

    def hand_out(rows, images=images, labels=labels):
        batches = (
            (images[rows[i : i + 32]], labels[rows[i : i + 32]]) for i in range(0, len(rows), 32)
        )
        handed = RecordedEpoch(256, checksums=True)
        handed.consume(batches)
        return handed, path

    return hand_out


def test_check_accepts_a_whole_epoch_in_any_order(handed_out):
    from benchmarks.work import check

    check(*handed_out(np.random.default_rng(0).permutation(128)), whole=True)


@pytest.mark.parametrize(
    "rows,reason",
    [
        (np.arange(127), "1 of 128 rows never came"),
        (np.append(np.arange(128), 5), "1 rows came more than once"),
    ],
)
def test_check_finds_lost_and_repeated_rows(handed_out, rows, reason):
    from benchmarks.work import WrongSamples, check

    with pytest.raises(WrongSamples, match=reason):
        check(*handed_out(rows), whole=True)


def test_check_finds_labels_of_other_rows(handed_out):
    from benchmarks.work import WrongSamples, check

    labels = np.zeros(128, np.int64)
    with pytest.raises(WrongSamples, match="labels of other rows"):
        check(*handed_out(np.arange(128), labels=labels), whole=True)


def test_check_finds_a_changed_byte(handed_out):
    from benchmarks.data import make_images
    from benchmarks.work import WrongSamples, check

    images = make_images(0, 128)
    images[77, 31, 31, 2] ^= 1
    with pytest.raises(WrongSamples, match="other bytes"):
        check(*handed_out(np.arange(128), images=images), whole=True)


def test_quality_of_an_exact_shuffle_is_one():
    from benchmarks.quality import shuffle_quality

    rows = np.random.default_rng(0).permutation(100_000)
    quality = shuffle_quality(rows, rows // 10_000, 100_000, 100, 64)
    assert quality["design_effect"] == pytest.approx(1, abs=0.1)
    assert quality["same_block"] == pytest.approx(1, abs=0.1)
    assert quality["label_entropy"] == pytest.approx(quality["label_entropy_exact"], abs=0.01)


def test_quality_of_row_order_is_the_worst():
    from benchmarks.quality import shuffle_quality

    rows = np.arange(100_000)
    quality = shuffle_quality(rows, rows // 10_000, 100_000, 100, 64)
    assert quality["design_effect"] == pytest.approx(100, rel=0.01)
    assert quality["label_entropy"] == 0
    assert quality["adjacent"] == 1


def test_targets_compare_medians_and_rounds():
    from benchmarks.targets import outcomes

    def runs(contestant, speeds):
        return [
            {
                "contestant": contestant,
                "layout": "gzip",
                "cache": "warm",
                "round": number,
                "samples_per_second": speed,
            }
            for number, speed in enumerate(speeds)
        ]

    ours = runs("Headrace shuffle=True", [250, 200, 240])
    theirs = runs("h5py slices in order", [100, 100, 80])
    (outcome,) = outcomes({"read": {"read": {"runs": ours + theirs}}})
    assert (outcome.ratio, outcome.low, outcome.high) == (2.4, 2.0, 3.0)
    assert not outcome.reached
