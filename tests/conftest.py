"""What every test shares."""

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

# Before anything imports Keras; `make test-backends` sets others.
os.environ.setdefault("KERAS_BACKEND", "jax")

# JAX keeps what it has compiled, for the processes that tests start and for the next run: half of
# the time of the Keras tests was spent compiling the same small models. Each worker has a folder of
# its own, since JAX does not write these files in one step.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_COMPILED = Path(__file__).parents[1] / ".jax_cache" / _WORKER
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Each worker has one core to compute on: where threads of PyTorch waited for a core that another
# worker used, tests took ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background makes them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are noisy: how long one example takes says nothing.
settings.register_profile(
    "headrace",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("headrace")


def pytest_collection_finish():
    """Full collections leave out the objects of Keras and its backend: hundreds of thousands."""
    if "keras" in sys.modules:
        gc.collect()
        gc.freeze()
        # Python collects fully once the objects that are new are many beside those that stayed.
        gc.collect()


class Images(NamedTuple):
    """A file of images that carry their row number, and what is in it."""

    path: Path
    image: np.ndarray
    label: np.ndarray
    id: np.ndarray


@pytest.fixture
def path(tmp_path):
    """Where a test writes its file."""
    return tmp_path / "data.h5"


@pytest.fixture
def open_folder():
    """A folder that every user of this machine may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def make_images(tmp_path):
    """Writes a file of n images of 4x4x3 uint8, with `label` = id % 10 and `id` = row number."""

    def make(n=1000, name="images.h5", contiguous=False, **storage):
        rng = np.random.default_rng(n)
        # Of 7 bits: libhdf5 1.14.6 cannot read back what its scaleoffset makes of all 8.
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
