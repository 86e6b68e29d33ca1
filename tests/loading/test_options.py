"""Options of `batch`: refused where they cannot be honoured, class weights, the report."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace.errors import OptionError
from tests.loading.helpers import dataset

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


@pytest.mark.parametrize(
    "options",
    [
        *({"batch_size": value} for value in (0, -1, 1.5, True)),
        *({"shuffle": value} for value in ("yes", 1)),
        *({"seed": value} for value in (-1, 0.5)),
        *({"memory": value} for value in ("lots", 0, -5, "5 parsecs")),
        {"workers": 0},
    ],
)
def test_options_that_cannot_be_honoured_are_refused(make_images, options):
    """By name, with what came."""
    value = next(iter(options.values()))
    with pytest.raises(OptionError, match="Received: ") as caught:
        dataset(make_images(100)).batch(**options)
    assert repr(value) in str(caught.value)


def test_an_unknown_option_is_refused(make_images):
    """A misspelt keyword is no keyword."""
    with pytest.raises(TypeError, match="shufle"):
        dataset(make_images(100)).batch(32, shufle=True)


def test_no_rows_make_no_batches(make_images):
    """An empty part says so instead of training on nothing."""
    with pytest.raises(OptionError, match="no rows"):
        dataset(make_images(100)).take(0).batch(32)


@pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
def test_class_weight_becomes_sample_weight(make_images, form):
    """Classes that are not named weigh 1, as in Keras."""
    images = make_images(100)

    def shape(x, y):
        return x, {"numbers": y, "column": y[:, None], "one-hot": np.eye(10)[y]}[form]

    data = hr.from_hdf5(images.path, x="image", y="label").map(shape)
    for _, y, weight in data.batch(32, class_weight={0: 2.0, 3: 0.5}):
        classes = y.argmax(-1) if form == "one-hot" else y.reshape(-1)
        expected = np.where(classes == 0, 2.0, np.where(classes == 3, 0.5, 1.0))
        assert weight.dtype == np.float32
        assert np.array_equal(weight, expected)


def test_class_weight_needs_one_y(make_images):
    """Refused where it has no meaning."""
    images = make_images(100)
    with pytest.raises(OptionError, match="only x"):
        list(hr.from_hdf5(images.path, x="image").batch(32, class_weight={0: 2}))
    with pytest.raises(OptionError, match="y has 2 here"):
        list(dataset(images).batch(32, class_weight={0: 2}))


def test_report_says_where_time_and_memory_went(make_images):
    """Counts are exact, times are there, and it reads well."""
    loader = dataset(make_images(4000)).batch(32, shuffle=True, memory=40_000, seed=0)
    list(loader)
    report = loader.report()
    assert (report.samples, report.batches, report.epochs) == (4000, 125, 1)
    assert report.bytes_decoded == 4000 * (48 + 16)
    assert report.decode > 0
    assert report.read > 0
    assert 0 < report.wait_for_data <= report.seconds
    assert report.paths["image"]["path"] == "direct chunks"
    assert "gzip" in report.paths["image"]["reason"]
    assert report.shuffle["mode"] == "windows"
    blocks = report.shuffle["blocks_per_window"]
    assert report.shuffle["variance_bound"] == 1 + 31 / blocks
    text = str(report)
    for word in ("4,000", "waited for data", "direct chunks", "40.0 kB"):
        assert word in text
    assert json.loads(json.dumps(report.to_dict()))["samples"] == 4000
