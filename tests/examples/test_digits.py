"""The demo's data: what is kept aside is never trained on, and files are made once."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest

from headrace.resources import parse_bytes

SCRIPT = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    """The demo's script as a module."""
    spec = importlib.util.spec_from_file_location("digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_scan_is_both_trained_on_and_kept_aside(digits):
    """The two parts hold every scan once, and each digit in the same share."""
    parts = digits.split_scans(seed=0)
    (train, train_labels), (valid, valid_labels) = parts["train"], parts["valid"]
    assert len(train) + len(valid) == 1797
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in valid}
    shares = np.bincount(valid_labels) / np.bincount(np.concatenate([train_labels, valid_labels]))
    np.testing.assert_allclose(shares, 0.2, atol=0.01)


def test_enlarging_keeps_the_picture(digits):
    """Unmoved and unturned, the mean of each 4x4 square of pixels is near the scan's pixel."""
    scans = np.zeros((1, 8, 8), np.float32)
    scans[0, 2:6, 2:6] = 16
    image = digits.enlarge(scans)[0]
    small = image.reshape(8, 4, 8, 4).mean(axis=(1, 3)) / 255 * 16
    np.testing.assert_allclose(small, scans[0], atol=5)
    assert image[16, 16] == pytest.approx(255)
    assert image[0, 0] == 0


def test_enlarging_shifts_down_and_right(digits):
    """A shift of one scan pixel is four pixels of the image."""
    scans = np.zeros((1, 8, 8), np.float32)
    scans[0, 3, 3] = 16
    moved = digits.enlarge(scans, shift=np.float32([[1, 2]]))
    np.testing.assert_allclose(moved[0, 4:, 8:], digits.enlarge(scans)[0, :-4, :-8], atol=1e-3)


def test_files_are_made_once(digits, tmp_path):
    """A second run uses the first one's files; other options make them anew."""
    train, valid = digits.make_files(tmp_path, count=200, seed=0)
    before = train.stat().st_mtime_ns
    digits.make_files(tmp_path, count=200, seed=0)
    assert train.stat().st_mtime_ns == before
    digits.make_files(tmp_path, count=201, seed=0)
    with h5py.File(train) as file, h5py.File(valid) as held:
        assert file["image"].shape == (201, 32, 32)
        assert file["image"].compression == "gzip"
        assert len(held["image"]) == len(held["label"]) > 300
    assert {path.name for path in tmp_path.iterdir()} == {"train.h5", "valid.h5"}


def test_the_data_is_eight_times_the_memory(digits):
    """By default the decoded file is at least 8 times what the loader may hold."""
    options = digits.parser().parse_args([])
    decoded = options.count * digits.SIDE * digits.SIDE
    assert decoded >= 8 * parse_bytes(options.memory)
