"""What goes wrong in user-supplied objects, and how it arrives: in threads and in processes."""

import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, ReadError
from tests import misbehaving
from tests.bad_input.refusal import refused
from tests.sequences import BOTH

# What `misbehaving.ERRORS` become: in threads, in processes, and a part of the text.
AS_IT_IS = "as it is"
ARRIVES = [
    (AS_IT_IS, ReadError, "one and two"),
    (AS_IT_IS, ReadError, "has a lock"),
    (AS_IT_IS, ReadError, "short life"),
    (DataError, DataError, "NoText: its text cannot be shown"),
    (AS_IT_IS, ReadError, "Frozen"),
    (DataError, DataError, "Odd: not an Exception"),
    (DataError, DataError, "SystemExit: 4"),
    (DataError, DataError, "KeyboardInterrupt"),
    (DataError, DataError, "GeneratorExit"),
    (DataError, DataError, "raised StopIteration"),
    (AS_IT_IS, AS_IT_IS, "its own"),
    (AS_IT_IS, ReadError, "(5,000,000 characters)"),
    (AS_IT_IS, AS_IT_IS, "deep"),
]


@BOTH
@pytest.mark.filterwarnings("ignore:A worker process .* could not make the error again")
def test_every_error_of_an_object_arrives_and_the_worker_works_on(processes):
    """As itself where it can, else as a `ReadError` that says the same and names the batch."""
    loader = hr.from_sequence(misbehaving.Raising(), workers=1, processes=processes)
    for index, (error, kinds) in enumerate(zip(misbehaving.ERRORS, ARRIVES, strict=True)):
        kind = kinds[processes]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
            loader[index]
        assert type(caught.value) is (type(error) if kind == AS_IT_IS else kind)
        if kind != AS_IT_IS:
            assert kinds[2] in str(caught.value)
            assert f"atch {index}" in str(caught.value)
            assert len(str(caught.value)) < 3000
    assert loader[len(loader) - 1][1].tolist() == list(range(104, 112))


@BOTH
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "value, words",
    [
        (None, "The sample of item 13 (batch {}) is None"),
        ((np.zeros(3), None), "Item {} has x (3,), y (). Item {} has x (3,)"),
        ((None, 3), "x of item 13 (batch {}) is None"),
        ((np.zeros(4), 3), "x (4,), y ()."),
        (((np.zeros(3), np.zeros(3)), 3), "x.0 (3,), x.1 (3,), y ()."),
        ((np.array([{}]), 3), "x of item 13 (batch {}) holds Python objects"),
        ((1, 2, 3, np.zeros(2)), "The sample of item 13"),
        ((np.zeros(3), "cat"), "item 13 has <U3"),
        ((tuple(np.zeros((3, 1))), 3), "x.0 (1,), x.1 (1,), x.2 (1,), y ()."),
    ],
)
def test_a_sample_that_is_unlike_the_others_is_named(processes, shuffle, value, words):
    """By its own index, also in a shuffled order, beside the number of the batch."""
    items = misbehaving.OneIsNone(13, value)
    options = {"batch_size": 6, "workers": 1, "shuffle": shuffle, "seed": 4}
    order = np.concatenate(
        [y for _, y in hr.from_sequence(misbehaving.OneIsNone(99, None), **options)]
    ).tolist()
    batch = order.index(13) // 6
    first = order[batch * 6]
    with pytest.raises(DataError) as caught:
        list(hr.from_sequence(items, processes=processes, **options))
    message = str(caught.value)
    assert f"batch {batch}" in message
    assert "13" in message
    expected = words.format(first, 13) if "Item {}" in words else words.format(batch)
    assert expected.replace("The sample of item 13", "") in message


@BOTH
def test_a_batch_in_shuffled_order_is_named_with_its_item(processes):
    """The third batch of an epoch may be made from item 13."""
    options = {"workers": 1, "shuffle": True, "seed": 4}
    order = [y[0] for _, y in hr.from_sequence(Batches(99), **options)]
    assert order != sorted(order)
    with refused(DataError, f"Batch {order.index(13)} (item 13) is None"):
        list(hr.from_sequence(Batches(13), processes=processes, **options))


class Batches(misbehaving.OneIsNone):
    """Batches of one row, of which one is None."""

    def __init__(self, at):
        super().__init__(at, None)

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample and (sample[0][None], np.array([index]))
