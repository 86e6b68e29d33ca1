"""What objects that give batches are told of epochs, and whose loop it is."""

import threading

import numpy as np

import headrace as hr
from headrace.errors import DataError, OptionError
from tests import sequences
from tests.bad_input.refusal import refused


@sequences.BOTH
def test_the_end_of_an_epoch_is_told_where_the_object_is_used(processes):
    """Its own shuffle then holds for the next epoch, in every copy."""
    items = sequences.Shuffled()
    loader = hr.from_sequence(items, workers=2, processes=processes, seed=3)
    epochs = [np.concatenate(sequences.labels(loader)).tolist() for _ in range(4)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] == list(range(60))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert items.ends == (0 if processes else 4)


def test_an_epoch_that_was_broken_off_has_an_end_as_well():
    items = sequences.Shuffled()
    loader = hr.from_sequence(items)
    next(iter(loader))
    assert items.ends == 0
    list(loader)
    assert items.ends == 2


@sequences.BOTH
def test_the_beginning_of_an_epoch_is_told_where_the_object_is_used(processes):
    loader = hr.from_sequence(sequences.Opening(), workers=1, processes=processes)
    loader.peek()
    for epoch in (1, 2):
        assert {label for y in sequences.labels(loader) for label in y} == {epoch}


def test_an_epoch_that_was_only_begun_ahead_has_no_end():
    items = sequences.Shuffled()
    loader = hr.from_sequence(items, workers=1)
    stream = loader.stream(epochs=None)
    for _ in range(8):
        next(stream)
    del stream
    list(loader)
    assert items.ends == 2


def test_no_more_is_made_than_will_be_taken():
    items = sequences.Shuffled()
    stream = hr.from_sequence(items, workers=1).stream(epochs=None, most=10)
    for _ in range(10):
        next(stream)
    stream.close()
    assert len(items.asked) == 10


def test_the_epoch_asked_for_comes_also_after_one_that_was_broken_off():
    def loader():
        return hr.from_sequence(sequences.Numbers(), shuffle=True, seed=0)

    broken, whole = loader(), loader()
    next(iter(broken))
    for one in (broken, whole):
        one.go_to(5)
    assert sequences.labels(broken) == sequences.labels(whole)


def test_an_epoch_ends_while_nothing_is_being_made():
    """A loop is left while a thread makes a batch for it; the next one has to wait for that."""
    inside, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Watching(sequences.Numbers):
        busy = False
        ends_while_busy = 0

        def __getitem__(self, index):
            if index == 3 and not go_on.is_set():
                self.busy = True
                inside.set()
                go_on.wait(60)
                self.busy = False
            return super().__getitem__(index)

        def on_epoch_end(self):
            self.ends_while_busy += self.busy
            ended.set()

    items = Watching()
    loader = hr.from_sequence(items, workers=1)
    stream = iter(loader)
    next(stream)
    assert inside.wait(60)
    stream.close()
    second = threading.Thread(target=list, args=(loader,))
    second.start()
    assert not ended.wait(0.3)
    go_on.set()
    second.join(60)
    assert ended.is_set()
    assert items.ends_while_busy == 0
    assert loader._epoch == 2


def test_a_loop_that_another_one_overtook_is_an_error_if_orders_would_mix():
    plain = hr.from_sequence(sequences.Numbers())
    first, second = iter(plain), iter(plain)
    found = [y.tolist() for (_, y), _ in zip(first, second, strict=True)]
    assert found == sequences.labels(plain)
    items = sequences.Shuffled()
    loader = hr.from_sequence(items)
    first, second = iter(loader), iter(loader)
    next(first)
    next(second)
    with refused(OptionError, "Another loop over this loader"):
        next(first)
    assert len(list(second)) == 7
    assert items.ends == 2


def test_an_object_that_is_empty_now_is_an_error():
    class Emptied(sequences.Numbers):
        def __len__(self):
            return 0 if self.ended else 8

        def on_epoch_end(self):
            self.ended = True

        ended = False

    loader = hr.from_sequence(Emptied())
    assert len(list(loader)) == 8
    with refused(DataError, "has length 0 now"):
        list(loader)
