"""Fixtures and settings of all tests."""

import gc
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Must be set before anything imports Keras; `make test-backends` sets other backends.
os.environ.setdefault("KERAS_BACKEND", "jax")

# A persistent compilation cache, also for the processes that tests start: without it, half of the
# time of the Keras tests is spent compiling the same small models. Each xdist worker has its own
# folder, since JAX does not write these files atomically.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_COMPILED = Path(__file__).parents[1] / ".jax_cache" / _WORKER
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Each worker has one core to compute on: where threads of PyTorch waited for a core that another
# worker used, tests took ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background makes them ignore SIGINT, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a busy machine, the time of one example varies too much.
settings.register_profile(
    "headrace",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("headrace")


def pytest_collection_finish():
    """Excludes the hundreds of thousands of objects of Keras and its backend from collections."""
    if "keras" in sys.modules:
        gc.collect()
        gc.freeze()
        # Python runs a full collection only if the objects that await one exceed a quarter of those
        # that survived the last one. This call resets the latter count.
        gc.collect()


class Images(NamedTuple):
    """A file of images, and the arrays in it."""

    path: Path
    image: np.ndarray
    label: np.ndarray
    id: np.ndarray


@pytest.fixture
def path(tmp_path):
    """The path of the file that a test writes."""
    return tmp_path / "data.h5"


@pytest.fixture
def open_folder():
    """A folder that every user of this machine may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def make_images(tmp_path):
    """Writes a file of n images of 4x4x3 uint8, with `label` = id % 10 and `id` = row number."""

    def make(n=1000, name="images.h5", contiguous=False, **storage):
        rng = np.random.default_rng(n)
        # Values of 7 bits: libhdf5 1.14.6 cannot decode its own scaleoffset output for 8 bits.
        image = rng.integers(0, 128, (n, 4, 4, 3), np.uint8)
        ids = np.arange(n)
        storage = storage or {"chunks": (min(n, 16), 4, 4, 3), "compression": "gzip"}
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=image, **({} if contiguous else storage))
            file["label"] = ids % 10
            file["id"] = ids
        return Images(path, image, ids % 10, ids)

    return make
