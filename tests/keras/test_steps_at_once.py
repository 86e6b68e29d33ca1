"""Several batches in one call of the trainer: `compile(steps_per_execution=)` on JAX."""

import keras
import numpy as np
import pytest

import headrace as hr
from headrace.keras.adapter import LoaderAdapter
from headrace.keras.internals import Call, PartialBatchList
from tests.keras.helpers import N, Recorder, small_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning"),
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="only JAX takes several batches in one array"
    ),
]


def several(loader, count, training=True, steps=None, class_weight=None):
    """What a trainer gets that asks for `count` batches at once."""
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=count)
    call = Call("fit", model)
    adapter = LoaderAdapter(loader, training, class_weight, steps, call=call)
    adapter.on_epoch_end()  # the trainer's reset: no more probes
    return adapter.get_jax_iterator(super_batch=count)


def one_by_one(items):
    """The batches in what a trainer got."""
    for item in items:
        if isinstance(item, PartialBatchList):
            yield from item
        else:
            for step in range(len(item[0])):
                yield tuple(part[step] for part in item)


def same(items, batches):
    pairs = list(zip(one_by_one(items), batches, strict=True))
    return all(np.array_equal(a, b) for got, want in pairs for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("count", [2, 3, 7, 8, 50])
@pytest.mark.parametrize("mapped", [False, True])
def test_they_are_the_batches_that_come_one_by_one(data, count, mapped):
    """In the same order, the smaller last one included, with and without map functions."""
    if mapped:
        data = data.map(lambda x, y: (x / np.float32(255), y))
    options = {"shuffle": True, "seed": 0, "memory": "60kB"}
    assert same(several(data.batch(32, **options), count), data.batch(32, **options))


def test_full_ones_have_an_axis_of_steps_and_the_rest_comes_as_a_list(data):
    """Six batches of 32 rows, and one of 11."""
    items = list(several(data.batch(32), 3))
    assert [type(item) for item in items] == [tuple, tuple, PartialBatchList]
    assert items[0][0].shape == (3, 32, 4, 4, 3)
    assert items[0][1].shape == (3, 32)
    assert len(items[2]) == 1


def test_without_map_functions_nothing_is_copied(data):
    """The array of steps is the memory that rows were put into."""
    (x, _), *_ = several(data.batch(32, memory="10MB"), 2)
    assert x.base is not None
    assert not x.flags.owndata


def test_weights_of_classes_go_along(data):
    """Each sample has the weight of its class."""
    for x, y, weight in one_by_one(several(data.batch(32), 2, class_weight={0: 2.0})):
        assert len(x) == len(y)
        assert np.array_equal(weight, np.where(y == 0, 2.0, 1.0).astype(np.float32))


@pytest.mark.parametrize("batch_size", [29, 32])
def test_with_steps_per_epoch_they_go_on_over_the_ends_of_epochs(data, batch_size):
    """Whether or not an epoch has a multiple of them."""
    loader = data.batch(batch_size, shuffle=True, seed=0)
    assert len(loader) == 7
    items = several(loader, 2, steps=5)
    reference = data.batch(batch_size, shuffle=True, seed=0)
    first, second = list(reference), list(reference)
    got = [next(items) for _ in range(7)]
    assert same(got, first + second)


def test_validation_gets_every_row(data):
    """Also from a loader that drops a remainder in training."""
    loader = data.batch(32, shuffle=True, drop_remainder=True)
    labels = np.concatenate([y for _, y in one_by_one(several(loader, 4, training=False))])
    assert np.array_equal(labels, data[:][1])


def test_batches_of_a_sequence_are_put_together():
    """An object that makes its own batches; the shorter last one stays alone."""

    class Numbers:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            x = np.full((4 - (index == 4), 2), index)
            return x, x[:, 0]

    items = list(several(hr.from_sequence(Numbers(), workers=1), 2))
    assert [type(item) for item in items] == [tuple, tuple, PartialBatchList]
    assert same(items, [Numbers()[i] for i in range(5)])


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("steps", [None, 3, 10])
def test_the_position_is_what_was_trained_on(data, count, steps):
    """After each call of the trainer, in whole epochs and in parts of them."""
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=count)
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    model.fit(loader, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[recorder])
    if steps is None:
        ends = [min(i + count, 7) + 7 * e for e in range(2) for i in range(0, 7, count)]
    else:
        calls = 2 * -(-steps // count)
        ends = [count * (i + 1) for i in range(calls)]
    assert recorder.positions == [divmod(end, 7) for end in ends]


@pytest.mark.parametrize("count", [2, 3])
def test_the_position_is_right_where_the_trainer_looks_ahead(data, monkeypatch, count):
    """As on an accelerator, where the next batches are sent while these are trained on."""
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=count)
    loader = data.batch(32, shuffle=True, seed=0)
    recorder = Recorder(loader)
    model.fit(loader, epochs=2, verbose=0, callbacks=[recorder])
    ends = [min(i + count, 7) + 7 * e for e in range(2) for i in range(0, 7, count)]
    assert recorder.positions == [divmod(end, 7) for end in ends]


def test_predictions_equal_those_of_single_steps(data):
    """Every row, in row order."""
    model = small_model()
    expected = model.predict(data[:][0], batch_size=32, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=3)
    got = model.predict(data.batch(32, shuffle=True, drop_remainder=True), verbose=0)
    assert got.shape == (N, 3)
    assert np.allclose(got, expected, atol=1e-5)
