"""Balanced epochs keep the promises of all others: order, memory, position."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace.errors import MemoryBudgetError, OptionError, StateError
from tests.loading.helpers import SMALL, STORAGE

pytestmark = [
    pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning"),
    pytest.mark.filterwarnings("ignore:shuffle='exact' decodes:UserWarning"),
]

SHUFFLES = [True, False, "batch", "exact"]


def balanced(images, **options):
    """Classes of 1, 2 and 97 of 100 rows, in equal shares."""
    data = hr.from_hdf5(images.path, x="image", y="id")
    classes = np.minimum(images.id % 100, 3)
    classes[classes == 2] = 1
    classes[classes == 3] = 2
    return data.balance(classes, **options), classes


def loader_of(images, shuffle=True, memory=SMALL, **options):
    data, _ = balanced(images)
    return data.batch(32, shuffle=shuffle, seed=4, memory=memory, **options)


def epochs(loader, count):
    return [[y.tolist() for _, y in loader] for _ in range(count)]


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("memory", [SMALL, "10MB"])
def test_every_order_hands_out_the_samples_of_the_epoch(make_images, storage, shuffle, memory):
    """Each class exactly, its rows evenly, with their own pixels; within the budget."""
    images = make_images(1203, **STORAGE[storage])
    data, classes = balanced(images)
    loader = data.batch(32, shuffle=shuffle, seed=0, memory=memory, workers=2)
    for _ in range(2):
        rows = []
        for x, y in loader:
            assert np.array_equal(x, images.image[y])
            rows.append(y)
        rows = np.concatenate(rows)
        assert np.bincount(classes[rows]).tolist() == [401, 401, 401]
        times = np.bincount(rows, minlength=1203)
        for code in range(3):
            assert np.ptp(times[classes == code]) <= 1
        if shuffle is False:
            assert np.all(np.diff(rows) >= 0)
    assert loader.report().peak_bytes <= loader.memory


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("storage", ["gzip", "contiguous"])
def test_the_order_does_not_depend_on_workers(make_images, shuffle, storage):
    """Nor on timing."""
    images = make_images(1203, contiguous=storage == "contiguous")
    one, *others = (epochs(loader_of(images, shuffle, workers=w), 2) for w in (1, 2, 5))
    assert all(other == one for other in others)


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_position_can_be_resumed(make_images, shuffle, contiguous):
    """Saved after each batch of two epochs, restored in a fresh loader: the whole rest is equal."""
    images = make_images(403, contiguous=contiguous)
    whole = epochs(loader_of(images, shuffle), 3)
    loader = loader_of(images, shuffle)
    for epoch in range(2):
        for batch, _ in enumerate(loader):
            saved = json.loads(json.dumps(loader.state_dict()))
            fresh = loader_of(images, shuffle)
            fresh.load_state_dict(saved)
            rest = epochs(fresh, 1)[0]
            if batch == len(loader) - 1:
                assert rest == whole[epoch + 1]
            else:
                assert rest == whole[epoch][batch + 1 :]


def test_another_budget_keeps_the_saved_windows(make_images):
    """From windows to all rows in memory."""
    images = make_images(3000)
    loader = loader_of(images, memory=60_000)
    whole = epochs(loader, 1)[0]
    loader = loader_of(images, memory=60_000)
    iterator = iter(loader)
    for _ in range(20):
        next(iterator)
    for memory in ("45kB", "100kB", "50MB"):
        fresh = loader_of(images, memory=memory)
        fresh.load_state_dict(loader.state_dict())
        assert epochs(fresh, 1)[0] == whole[20:]
        assert fresh.report().peak_bytes <= fresh.memory


def test_a_position_of_other_samples_is_refused(make_images):
    """Other shares, another seed or length, or each row once."""
    images = make_images(300)
    plain = hr.from_hdf5(images.path, x="image", y="id")
    state = loader_of(images).state_dict()
    assert len(json.dumps(state)) < 400
    others = [
        (balanced(images, seed=1)[0], "fingerprint"),
        (balanced(images, weights={0: 1, 1: 1, 2: 2})[0], "fingerprint"),
        (balanced(images, length=301)[0], "number of rows"),
        (plain, "fingerprint"),
    ]
    for other, word in others:
        with pytest.raises(StateError, match=word):
            other.batch(32, shuffle=True, memory=SMALL).load_state_dict(state)


def test_epochs_do_not_depend_on_where_one_began(make_images):
    """Epoch 3 is the same after three others and at once."""
    images = make_images(500)
    whole = epochs(loader_of(images), 4)
    loader = loader_of(images)
    loader.go_to(3)
    assert epochs(loader, 1)[0] == whole[3]


@pytest.mark.parametrize("memory", [SMALL, "10MB"])
def test_epochs_that_are_made_ahead_are_the_same(make_images, memory):
    """As `fit` takes them: one stream, which begins an epoch before the one before has ended."""
    images = make_images(500)
    whole = epochs(loader_of(images, memory=memory), 3)
    stream = loader_of(images, memory=memory).stream(epochs=3)
    assert [y.tolist() for _, y in stream] == [batch for epoch in whole for batch in epoch]


def test_a_batch_may_be_larger_than_the_data(make_images):
    """An epoch is as long as it was said to be."""
    images = make_images(100)
    data, classes = balanced(images, length=1000)
    (x, y) = next(iter(data.batch(1000, shuffle=True)))
    assert np.ptp(np.bincount(classes[y])) <= 1
    assert np.array_equal(x, images.image[y])
    loader = data.batch(300, drop_remainder=True)
    assert [len(y) for _, y in loader] == [300, 300, 300]
    assert loader.peek()[1].tolist() == [*range(100)] * 3
    with pytest.raises(OptionError, match="1000 rows are less"):
        data.batch(1001, drop_remainder=True)


def test_a_budget_below_one_batch_names_the_least(make_images):
    """As large as batches of drawn samples are."""
    data, _ = balanced(make_images(100), length=1000)
    with pytest.raises(MemoryBudgetError, match="memory=") as caught:
        data.batch(900, memory=50_000)
    least = int(str(caught.value).rsplit("memory=", 1)[1].rstrip("."))
    loader = data.batch(900, memory=least, workers=1)
    assert sum(len(y) for _, y in loader) == 1000
    assert loader.report().peak_bytes <= least


def test_a_class_in_a_few_blocks_is_in_every_batch(make_images):
    """Half of the samples lie in one block of 64: batches are mixed all the same."""
    images = make_images(6400)
    classes = np.repeat([0, 1], [16, 6384])
    data = hr.from_hdf5(images.path, x="image", y="id").balance(classes)
    loader = data.batch(32, shuffle=True, seed=0, memory="100kB")
    assert loader.report().shuffle["mode"] == "windows"
    shares = np.array([np.mean(classes[y] == 0) for _, y in loader])
    assert shares.min() > 0
    assert shares.max() < 1
    bound = loader.report().shuffle["variance_bound"]
    assert shares.var() < 0.25 / 32 * bound * 1.2


def test_rows_of_one_batch_are_decoded_once(make_images):
    """Blocks that many samples come from are decoded again in some windows, and few of them."""
    images = make_images(6400)
    data, _ = balanced(images)
    loader = data.batch(32, shuffle=True, seed=0, memory="100kB")
    for _ in loader:
        pass
    blocks = 6400 // 16
    assert loader.report().repeated <= blocks
