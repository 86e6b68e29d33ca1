"""Saved positions: stop anywhere, go on exactly there."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace.errors import MemoryBudgetError, StateError
from tests.loading.helpers import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


def loader_of(images, batch_size=32, memory=SMALL, **options):
    data = hr.from_hdf5(images.path, x="image", y="id")
    return data.batch(batch_size, memory=memory, **{"shuffle": True, "seed": 4, **options})


def epochs(loader, count):
    return [[y.tolist() for _, y in loader] for _ in range(count)]


@pytest.mark.filterwarnings("ignore:shuffle='exact' decodes:UserWarning")
@pytest.mark.parametrize("shuffle", [True, False, "batch", "exact"])
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_position_can_be_resumed(make_images, shuffle, contiguous):
    """Saved after each batch of two epochs, restored in a fresh loader: the whole rest is equal."""
    images = make_images(403, contiguous=contiguous)
    whole = epochs(loader_of(images, shuffle=shuffle), 3)
    loader = loader_of(images, shuffle=shuffle)
    for epoch in range(2):
        for batch, _ in enumerate(loader):
            saved = json.loads(json.dumps(loader.state_dict()))
            fresh = loader_of(images, shuffle=shuffle, seed=99)
            fresh.load_state_dict(saved)
            assert fresh.state_dict() == saved
            rest = epochs(fresh, 1)[0]
            if batch == len(loader) - 1:
                assert rest == whole[epoch + 1]
            else:
                assert rest == whole[epoch][batch + 1 :]
                assert epochs(fresh, 1)[0] == whole[epoch + 1]


def test_before_the_first_batch_the_position_is_the_start(make_images):
    """And resuming there gives the whole first epoch."""
    images = make_images(300)
    loader = loader_of(images)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 0)
    fresh = loader_of(images)
    fresh.load_state_dict(state)
    assert epochs(fresh, 2) == epochs(loader, 2)


def test_two_resumes_in_one_epoch(make_images):
    """A position saved after a resume is as good as any."""
    images = make_images(1000)
    whole = epochs(loader_of(images), 1)[0]
    got = []
    state = None
    while len(got) < len(whole):
        loader = loader_of(images)
        if state:
            loader.load_state_dict(state)
        for _, y in loader:
            got.append(y.tolist())
            if len(got) % 7 == 0:
                state = loader.state_dict()
                break
    assert got == whole


def test_what_was_made_ahead_does_not_count(make_images):
    """The position is what was handed out, however much is ready."""
    loader = loader_of(make_images(1000), memory="10MB")
    iterator = iter(loader)
    for i in range(5):
        next(iterator)
        assert loader.state_dict()["batch"] == i + 1


def test_a_loop_that_was_broken_off_is_over(make_images):
    """The next loop is the next epoch; going back takes load_state_dict."""
    images = make_images(300)
    whole = epochs(loader_of(images), 2)
    loader = loader_of(images)
    for _ in loader:
        break
    assert epochs(loader, 1)[0] == whole[1]


def test_another_budget_keeps_the_saved_windows(make_images):
    """The rest of the epoch is the one that was begun; later epochs use the new budget."""
    images = make_images(3000)
    whole = epochs(loader_of(images, memory=60_000), 1)[0]
    loader = loader_of(images, memory=60_000)
    iterator = iter(loader)
    for _ in range(20):
        next(iterator)
    state = loader.state_dict()
    for memory in ("45kB", "100kB", "50MB"):
        fresh = loader_of(images, memory=memory)
        fresh.load_state_dict(state)
        assert fresh.state_dict() == state
        assert epochs(fresh, 1)[0] == whole[20:]
        assert fresh.report().peak_bytes <= fresh.memory
        fresh_epoch = loader_of(images, memory=memory)
        assert epochs(fresh, 1)[0] == epochs(fresh_epoch, 2)[1]


def test_a_budget_too_small_for_the_saved_windows_is_refused(make_images):
    """Better than other rows than those that are left."""
    images = make_images(3000)
    for memory in (120_000, "50MB"):
        loader = loader_of(images, memory=memory)
        next(iter(loader))
        small = loader_of(images, memory=30_000)
        with pytest.raises(MemoryBudgetError, match="memory that it had"):
            small.load_state_dict(loader.state_dict())


@pytest.mark.parametrize(
    "change, word",
    [
        ({"batch_size": 16}, "batch size"),
        ({"shuffle": "batch"}, "shuffle"),
        ({"drop_remainder": True}, "drop_remainder"),
    ],
)
def test_another_loader_is_refused_by_name(make_images, change, word):
    """Says what differs, and both values."""
    images = make_images(300)
    with pytest.raises(StateError, match=word):
        loader_of(images, **change).load_state_dict(loader_of(images).state_dict())


def test_other_data_are_refused(make_images):
    """Another length, another split, another file."""
    images = make_images(300)
    state = loader_of(images).state_dict()
    with pytest.raises(StateError, match="number of rows"):
        loader_of(make_images(301, "b.h5")).load_state_dict(state)
    data = hr.from_hdf5(images.path, x="image", y="id")
    one, other = (data.split(0.5, seed=s)[0].batch(32) for s in (0, 1))
    with pytest.raises(StateError, match="fingerprint"):
        other.load_state_dict(one.state_dict())


def test_other_blocks_are_refused(make_images, monkeypatch):
    """Read another way, the same file has other blocks, and an epoch under way other windows."""
    images = make_images(20_000, chunks=(16, 4, 4, 3))
    monkeypatch.setenv("HEADRACE_HDF5", "h5py")
    loader = loader_of(images, memory="500kB")
    next(iter(loader))
    monkeypatch.delenv("HEADRACE_HDF5")
    with pytest.raises(StateError, match="blocks"):
        loader_of(images, memory="500kB").load_state_dict(loader.state_dict())


def test_loading_a_position_cuts_off_running_iterators(make_images):
    """They go on, but the loader no longer follows them."""
    loader = loader_of(make_images(1000))
    start = loader.state_dict()
    old = iter(loader)
    next(old)
    loader.load_state_dict(start)
    next(old)
    assert loader.state_dict() == start


@pytest.mark.parametrize("bad", [{}, [], {"epoch": 1}, None])
def test_what_is_no_state_is_refused(make_images, bad):
    """Says what one looks like."""
    with pytest.raises(StateError, match="state_dict"):
        loader_of(make_images(100)).load_state_dict(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"rank": 1, "world": 2},
        {"world": 0},
        {"batch": 10**6},
        {"epoch": -1},
        {"batch": "3"},
        {"seed": None},
    ],
)
def test_a_damaged_state_is_refused(make_images, change):
    """Numbers that no loader wrote."""
    loader = loader_of(make_images(100))
    with pytest.raises(StateError):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_the_state_is_small_whatever_the_data(make_images):
    """A few numbers."""
    sizes = {
        len(json.dumps(loader_of(make_images(n, f"{n}.h5")).state_dict())) for n in (100, 30_000)
    }
    assert max(sizes) < 400
    assert max(sizes) - min(sizes) < 10


def test_moved_data_are_the_same_data(make_images, tmp_path):
    """A copy elsewhere goes on where the original stood."""
    import shutil

    images = make_images(300)
    loader = loader_of(images)
    next(iter(loader))
    copy = images._replace(path=shutil.copy(images.path, tmp_path / "copy.h5"))
    fresh = loader_of(copy)
    fresh.load_state_dict(loader.state_dict())
    assert np.array_equal(next(iter(fresh))[1], loader[1][1])


@pytest.mark.parametrize("shuffle", [True, "batch"])
def test_any_larger_budget_goes_on_with_the_saved_windows(make_images, shuffle):
    """Up to the one that holds everything, and beyond."""
    images = make_images(1000)
    loader = loader_of(images, shuffle=shuffle)
    whole = [y.tolist() for _, y in loader]
    loader.load_state_dict({**loader.state_dict(), "epoch": 0, "batch": 0})
    stream = iter(loader)
    for _ in range(5):
        next(stream)
    saved = loader.state_dict()
    for memory in range(SMALL, 150_000, 3000):
        larger = loader_of(images, shuffle=shuffle, memory=memory)
        larger.load_state_dict(saved)
        assert [y.tolist() for _, y in larger] == whole[5:]
        assert larger.report().peak_bytes <= memory


def test_the_state_of_one_of_several_processes_is_refused(make_images):
    """Epochs that processes share are for a later version, which reads the states of this one."""
    loader = loader_of(make_images(300))
    state = loader.state_dict()
    assert (state["rank"], state["world"]) == (0, 1)
    with pytest.raises(StateError, match=r"process 1 of 4.*does not share epochs"):
        loader.load_state_dict({**state, "rank": 1, "world": 4})
