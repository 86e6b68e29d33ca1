"""Objects that give batches, read ahead by threads and by processes."""

import gc
import threading
import time

import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, OptionError
from tests import sequences
from tests.bad_input.refusal import refused


@sequences.BOTH
def test_batches_come_in_order_each_once(processes):
    loader = hr.from_sequence(sequences.Slow(), workers=2, processes=processes)
    expected = [list(range(60))[i : i + 8] for i in range(0, 60, 8)]
    assert sequences.labels(loader) == expected
    assert sequences.labels(loader) == expected
    assert len(loader) == 8


def test_each_index_is_asked_for_once_an_epoch():
    items = sequences.Numbers()
    loader = hr.from_sequence(items, workers=3)
    for _ in range(3):
        list(loader)
    assert sorted(items.asked) == sorted([*range(8)] * 3)


def test_no_more_is_made_ahead_than_the_queue_holds():
    items = sequences.Numbers()
    stream = iter(hr.from_sequence(items, workers=2, max_queue_size=3))
    next(stream)
    deadline = time.monotonic() + 10
    while len(items.asked) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(items.asked) == 4
    assert not any(time.sleep(0.01) or len(items.asked) > 4 for _ in range(20))


@sequences.BOTH
def test_indices_can_be_shuffled(processes):
    loader = hr.from_sequence(sequences.Numbers(), processes=processes, shuffle=True, seed=0)
    first, second = sequences.labels(loader), sequences.labels(loader)
    assert (
        sorted(first)
        == sorted(second)
        == sorted(sequences.labels(hr.from_sequence(sequences.Numbers())))
    )
    assert first != second
    again = hr.from_sequence(sequences.Numbers(), workers=1, shuffle=True, seed=0)
    assert sequences.labels(again) == first


@sequences.BOTH
def test_samples_are_put_together(processes):
    options = {"processes": processes, "batch_size": 7}
    loader = hr.from_sequence(sequences.Samples(), shuffle=True, seed=0, **options)
    rows = [(x["x"], y) for x, y in loader]
    assert [len(y) for _, y in rows] == [7, 7, 7, 7, 2]
    assert sorted(np.concatenate([y for _, y in rows])) == list(range(30))
    assert all((x == y[:, None]).all() for x, y in rows)
    assert sequences.labels(hr.from_sequence(sequences.Samples(), **options))[0] == list(range(7))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [None, 7, 5000])
def test_no_item_of_many_is_lost_or_repeated(shuffle, size):
    options = {"shuffle": shuffle, "seed": 0, "batch_size": size, "workers": 1}
    loader = hr.from_sequence(sequences.Many(), **options)
    found = np.concatenate([x.ravel() for (x,) in loader]).tolist()
    assert (found == list(range(10_000))) is not shuffle
    assert sorted(found) == list(range(10_000))
    if shuffle:
        again = hr.from_sequence(sequences.Many(), **options)
        assert found == np.concatenate([x.ravel() for (x,) in again]).tolist()


@sequences.BOTH
def test_an_error_arrives_in_its_place_with_the_batch_and_the_traceback(processes):
    loader = hr.from_sequence(sequences.Failing(), workers=2, processes=processes)
    stream = iter(loader)
    for _ in range(3):
        next(stream)
    with pytest.raises(KeyError, match="the third") as caught:
        next(stream)
    notes = "\n".join(caught.value.__notes__)
    assert "raised while batch 3 was made" in notes
    if processes:
        assert "in a worker process" in notes
        assert "sequences.py" in notes


@sequences.BOTH
def test_an_exit_is_an_error_not_a_hang(processes):
    loader = hr.from_sequence(sequences.Exiting(), workers=2, processes=processes)
    with refused(DataError, "Making batch 3 raised SystemExit: 5"):
        list(loader)


@pytest.mark.parametrize(
    "made, words",
    [
        ((1, 2, 3, 4), "a tuple of 4"),
        ((np.ones(3), np.ones(2)), r"shapes \(3,\), \(2,\)"),
        (np.float32(3), r"shapes \(\)"),
        (np.array(["a", None]), "Python objects"),
        ((np.ones(3), {"a": ["x", None]}), r"y\.a\.1 of batch 2 is None"),
        ([], "tuple of 0|list of 0"),
    ],
)
def test_what_is_no_batch_is_an_error_that_names_it(made, words):
    class Bad(sequences.Numbers):
        def __getitem__(self, index):
            return made if index == 2 else super().__getitem__(index)

    with pytest.raises(DataError, match=f"batch 2.*({words})|{words}"):
        list(hr.from_sequence(Bad()))


@pytest.mark.parametrize(
    "made, expected",
    [
        (np.ones((2, 3)), "x"),
        ({"a": np.ones(2)}, "x"),
        ((np.ones(2), np.ones(2)), "xy"),
        ([np.ones(2), np.ones(2)], "xy"),
        ((np.ones(2), [0, 1], None), "xy"),
        (([np.ones(2), np.ones(2)], {"y": np.ones(2)}, np.ones(2)), "xyw"),
    ],
)
def test_batches_of_all_structures(made, expected):
    class Made(sequences.Numbers):
        def __getitem__(self, index):
            return made

    (batch, *_) = hr.from_sequence(Made())
    assert len(batch) == len(expected)


@pytest.mark.parametrize(
    "items, options, words",
    [
        ((number for number in range(3)), {}, "cannot be indexed"),
        (3, {}, "has no __len__"),
        ([], {}, "length 0"),
        (sequences.Numbers(), {"workers": 0}, "workers"),
        (sequences.Numbers(), {"max_queue_size": 0}, "max_queue_size"),
        (sequences.Numbers(), {"processes": 2}, "processes"),
        (sequences.Numbers(), {"shuffle": "batch"}, "shuffle"),
        (sequences.Numbers(), {"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_meant_is_refused(items, options, words):
    with refused(OptionError, words):
        hr.from_sequence(items, **options)


def test_a_look_at_batches_and_a_loop_do_not_disturb_each_other():
    loader = hr.from_sequence(sequences.Numbers())
    stream = iter(loader)
    next(stream)
    assert loader[-1][1].tolist() == [56, 57, 58, 59]
    with pytest.raises(IndexError, match="batch 8"):
        loader[8]
    assert len(list(stream)) == 7


def test_threads_end_with_the_loop():
    loader = hr.from_sequence(sequences.Numbers(), workers=2)
    for _ in loader:
        break
    gc.collect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t.name.startswith("headrace-items")]
        if not left:
            break
        time.sleep(0.01)
    assert not left


def test_an_object_may_fill_one_array_again_and_again():
    found = [x.max() for (x,) in hr.from_sequence(sequences.Refilling(), workers=1)]
    assert found == list(range(8))


def test_fresh_arrays_are_handed_on_without_a_copy():
    made = []

    class Fresh(sequences.Numbers):
        def __getitem__(self, index):
            x = np.zeros((4, 4))
            made.append(x.ctypes.data)
            return x

    handed = [x.ctypes.data for (x,) in hr.from_sequence(Fresh(), workers=1, max_queue_size=1)]
    assert handed == made


@sequences.BOTH
def test_a_stop_iteration_is_an_error_and_no_end(processes):
    with refused(DataError, "Item 3 of batch 3 raised StopIteration"):
        list(hr.from_sequence(sequences.Stopping(), workers=1, processes=processes))


def test_samples_of_two_numbers_are_x_and_y():
    x, y = next(iter(hr.from_sequence(sequences.Scalars(), batch_size=4)))
    assert x.tolist() == [0, 1, 2, 3]
    assert y.tolist() == [0, 10, 20, 30]


def test_the_item_that_failed_is_named():
    class Broken(sequences.Samples):
        def __getitem__(self, index):
            return {}[index] if index == 12 else super().__getitem__(index)

    with pytest.raises(KeyError) as caught:
        list(hr.from_sequence(Broken(), batch_size=5, workers=1))
    assert "batch 2 was made, from item 12" in caught.value.__notes__[0]


def test_what_has_a_data_set_is_told_to_hand_it_over():
    class Loader:
        dataset = sequences.Samples()

        def __iter__(self):
            return iter(())

    with refused(OptionError, "from_sequence(loader.dataset, batch_size="):
        hr.from_sequence(Loader())
