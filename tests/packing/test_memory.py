"""Packing in the memory that was given, and what is said where it is too little."""

import tracemalloc

import numpy as np
import pytest

import headrace as hr
from headrace.errors import MemoryBudgetError
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write


@pytest.fixture
def data(tmp_path):
    """A gzip file of images and labels."""
    path = write(tmp_path / "in.h5", image=gzip(images(300), 7), label=np.arange(300))
    return hr.from_hdf5(path, x="image", y="label")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_memory_stays_within_the_budget(make_images, tmp_path, compression):
    """What NumPy allocates, as tracemalloc sees it: in order, and shuffled in two passes."""
    data = hr.from_hdf5(make_images(200_000).path, x="image", y=["label", "id"])
    memory = 4_000_000
    chunk = "50kB" if compression else None
    domain = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    for shuffle in (False, True):
        options = {"compression": compression, "chunk": chunk, "shuffle": shuffle}
        peaks = []

        def look(x, y, peaks=peaks):
            traces = tracemalloc.take_snapshot().filter_traces([domain])
            peaks.append(sum(s.size for s in traces.statistics("filename")))
            return x, y

        tracemalloc.start()
        try:
            hr.pack(data.map(look), tmp_path / "out.h5", memory=memory, overwrite=True, **options)
        finally:
            tracemalloc.stop()
        assert len(peaks) > 10
        assert max(peaks) <= memory * 1.05


def test_too_little_memory_says_so(data, tmp_path):
    """Nothing is left behind."""
    with refused(MemoryBudgetError, "memory="):
        hr.pack(data, tmp_path / "out.h5", memory=3000)
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "gzip"},
        {"shard_size": "10kB"},
        {"shuffle": True},
        {"shuffle": True, "shard_size": "10kB", "compression": "zstd", "workers": 7},
    ],
)
def test_what_is_said_to_be_enough_is_enough(data, tmp_path, options):
    """And not far too much."""
    with pytest.raises(MemoryBudgetError) as caught:
        hr.pack(data, tmp_path / "out", memory=1000, **options)
    assert "1.0 kB of memory is too little" in str(caught.value)
    enough = caught.value.least
    hr.pack(data, tmp_path / "out", memory=enough, **options)
    with pytest.raises(MemoryBudgetError):
        hr.pack(data, tmp_path / "other", memory=enough // 2, **options)
