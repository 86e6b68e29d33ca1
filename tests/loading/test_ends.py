"""How iterators end: used up, abandoned, with an error, beside a fork."""

import gc
import subprocess
import sys

import h5py
import numpy as np
import psutil
import pytest

import penstock as ps
from tests.loading.helpers import SMALL, dataset, threads

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes:UserWarning")


def test_nothing_is_left_after_many_epochs_and_abandoned_iterators(make_images):
    """A hundred of each: no thread, no descriptor."""
    loader = dataset(make_images(500)).batch(32, shuffle=True, memory=SMALL)
    list(loader)
    gc.collect()
    process = psutil.Process()
    descriptors = process.num_fds()
    for _ in range(100):
        list(loader)
    for _ in range(100):
        next(iter(loader))
    kept = [iter(loader) for _ in range(100)]
    gc.collect()
    assert len(kept) == 100
    assert threads() == []
    assert process.num_fds() == descriptors


def test_breaking_out_of_a_loop_ends_the_threads(make_images):
    """At once, not at the end of the program."""
    loader = dataset(make_images(5000)).batch(8, shuffle=True, memory=SMALL)
    for _ in loader:
        break
    assert threads() == []


def failing_at(row):
    def fail(x, y):
        if row in y[1]:
            raise ValueError(f"row {row} is bad")
        return x, y

    return fail


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_arrives_in_its_place(make_images, workers):
    """The batches before it come first, on every run; then the error; then nothing."""
    data = dataset(make_images(1000)).map(failing_at(500))
    iterator = iter(data.batch(32, memory=SMALL, workers=workers))
    for i in range(500 // 32):
        assert next(iterator)[1][1][0] == i * 32
    with pytest.raises(ValueError, match="row 500 is bad"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert threads() == []


def test_an_error_names_file_field_and_rows(make_images):
    """A chunk that is damaged: the fast path and h5py both give up."""
    images = make_images(1000)
    with h5py.File(images.path) as file:
        info = file["image"].id.get_chunk_info(20)
    with images.path.open("r+b") as file:
        file.seek(info.byte_offset + 20)
        file.write(b"\xff" * 100)
    loader = dataset(images).batch(32, shuffle=True, memory=SMALL, seed=0)
    with pytest.raises(ps.errors.ReadError) as caught:
        list(loader)
    message = str(caught.value)
    assert "images.h5" in message
    assert "'image'" in message
    assert "320 to 335" in message
    assert threads() == []


def test_a_worker_that_exits_is_an_error_not_a_hang(make_images):
    """SystemExit in a map function would end the thread silently."""

    def leave(x, y):
        raise SystemExit(3)

    loader = dataset(make_images(100)).map(leave).batch(32)
    with pytest.raises(SystemExit):
        next(iter(loader))


def test_two_iterators_at_a_time_take_an_epoch_each(make_images):
    """Neither loses rows to the other."""
    loader = dataset(make_images(300)).batch(32, shuffle=True, seed=0, memory=SMALL)
    pairs = list(zip(loader, loader, strict=True))
    for side in (0, 1):
        rows = np.concatenate([pair[side][1][1] for pair in pairs])
        assert sorted(rows.tolist()) == list(range(300))
    assert not np.array_equal(pairs[0][0][1][1], pairs[0][1][1][1])


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import penstock as ps
loader = ps.from_hdf5(sys.argv[1], x="image").batch(32, memory=40_000)
iterator = iter(loader)
next(iterator)
child = os.fork()
if child == 0:
    try:
        next(iterator)
    except ps.PenstockError:
        os._exit(0 if len(list(loader)) == 32 else 2)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(list(iterator)))
"""


def test_an_iterator_from_before_a_fork_refuses_to_hang(make_images):
    """Its threads stayed in the parent, which goes on; a new iterator works in the child."""
    command = [sys.executable, "-c", FORK, make_images(1000).path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "31"]
