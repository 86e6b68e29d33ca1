"""The calls that Keras had for generators: thin, and each says what to write instead."""

import queue
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from penstock.dataset import Dataset
from penstock.errors import OptionError, check_integer
from penstock.formats import from_sequence
from penstock.loading import ItemLoader, Loader
from penstock.loading.items import Batch, as_batch

_WAIT_SECONDS = 0.1
"""How often whoever waits for the other side of a queue looks whether it is still there."""


def fit_generator(
    model: Any,
    generator: Any,
    steps_per_epoch: int | None = None,
    epochs: int = 1,
    verbose: int | str = 1,
    callbacks: Sequence[Any] | None = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    validation_freq: int = 1,
    class_weight: Mapping[int, float] | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    shuffle: bool = True,
    initial_epoch: int = 0,
) -> Any:
    """`model.fit_generator(generator, ...)`, as Keras had it until 2020.

    Warns with the line to write instead.

    Args:
        model: A compiled Keras model.
        generator: A `Sequence` or any object with `__len__` and `__getitem__`, which is read ahead
            as `from_sequence` does; a generator, which is read ahead by one thread; or a
            loader.
        steps_per_epoch: Batches in an epoch; needed for a generator.
        epochs: The epoch to train to.
        verbose: As in `fit`.
        callbacks: As in `fit`.
        validation_data: The same kinds of object, or a tuple of arrays.
        validation_steps: Batches to validate on; needed for a generator.
        validation_freq: As in `fit`.
        class_weight: As in `fit`.
        max_queue_size: Batches made ahead.
        workers: Threads or processes; 0, once the main thread, is one thread. A generator has one.
        use_multiprocessing: Whether they are processes.
        shuffle: Whether the batches of a `Sequence` come in random order.
        initial_epoch: As in `fit`.

    Returns:
        The `History` of `fit`.

    Raises:
        OptionError: If a generator comes without its number of steps, or with several workers.

    Example:

    ```python
    history = ps.fit_generator(model, my_sequence, epochs=2, workers=2)
    history = model.fit(ps.from_sequence(my_sequence, workers=2, shuffle=True), epochs=2)
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing) as options:
        _warn("fit_generator", "fit", generator, options, shuffle)
        # Of a generator, Keras knows itself that there is nothing to shuffle, and warns.
        unshuffled = {"shuffle": False} if isinstance(generator, Iterator) else {}
        return model.fit(
            options.data(generator, steps_per_epoch, "steps_per_epoch", shuffle),
            **unshuffled,
            steps_per_epoch=steps_per_epoch,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=options.validation(validation_data, validation_steps),
            validation_steps=validation_steps,
            validation_freq=validation_freq,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
        )


def evaluate_generator(
    model: Any,
    generator: Any,
    steps: int | None = None,
    callbacks: Sequence[Any] | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int | str = 0,
) -> Any:
    """`model.evaluate_generator(generator, ...)`; see `fit_generator`.

    Returns:
        What `evaluate` returns.

    Example:

    ```python
    loss = ps.evaluate_generator(model, my_sequence)
    loss = model.evaluate(ps.from_sequence(my_sequence))
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing) as options:
        _warn("evaluate_generator", "evaluate", generator, options)
        data = options.data(generator, steps, "steps")
        return model.evaluate(data, steps=steps, callbacks=callbacks, verbose=verbose)


def predict_generator(
    model: Any,
    generator: Any,
    steps: int | None = None,
    callbacks: Sequence[Any] | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int | str = 0,
) -> Any:
    """`model.predict_generator(generator, ...)`; see `fit_generator`.

    Returns:
        What `predict` returns, in the order of the batches.

    Example:

    ```python
    predictions = ps.predict_generator(model, my_sequence)
    predictions = model.predict(ps.from_sequence(my_sequence))
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing) as options:
        _warn("predict_generator", "predict", generator, options)
        data = options.data(generator, steps, "steps")
        return model.predict(data, steps=steps, callbacks=callbacks, verbose=verbose)


class _Options:
    """How batches are made ahead."""

    def __init__(self, max_queue_size: int, workers: int, use_multiprocessing: bool) -> None:
        check_integer("max_queue_size", max_queue_size, 1)
        check_integer("workers", workers, 0)
        if not isinstance(use_multiprocessing, bool):
            raise OptionError(
                "Expected use_multiprocessing to be True or False. "
                f"Received: {use_multiprocessing!r}"
            )
        self.max_queue_size = max_queue_size
        self.workers = max(1, workers)
        self.processes = use_multiprocessing
        self._ahead: list[_ReadAhead] = []

    def __enter__(self) -> "_Options":
        return self

    def __exit__(self, *_: object) -> None:
        for ahead in self._ahead:
            ahead.stop()

    def data(self, generator: Any, steps: int | None, name: str, shuffle: bool = False) -> Any:
        """What today's functions take in place of a generator."""
        if isinstance(generator, (Loader, ItemLoader, Dataset)):
            return generator
        if not isinstance(generator, Iterator):
            return from_sequence(
                generator,
                workers=self.workers,
                processes=self.processes,
                max_queue_size=self.max_queue_size,
                shuffle=shuffle,
            )
        if steps is None:
            raise OptionError(
                f"A generator does not say how many batches it has: {name}= is needed with it."
            )
        if self.workers > 1 or self.processes:
            raise OptionError(
                "A generator gives its batches one after the other, so that several workers could "
                "only take turns, and a copy of it in each process would give all of them the same "
                "batches. Leave workers= and use_multiprocessing= out, or make it a class with "
                "__len__ and __getitem__(i)."
            )
        ahead = _ReadAhead(generator, self.max_queue_size)
        self._ahead.append(ahead)
        return ahead.start()

    def validation(self, data: Any, steps: int | None) -> Any:
        """The same for validation data, which may be arrays."""
        if data is None or isinstance(data, (tuple, list)):
            return data
        return self.data(data, steps, "validation_steps")


def _warn(old: str, new: str, generator: Any, options: _Options, shuffle: bool = False) -> None:
    call = "generator"
    if not isinstance(generator, (Loader, ItemLoader, Dataset, Iterator)):
        words = [f"workers={options.workers}"]
        words += ["processes=True"] * options.processes + ["shuffle=True"] * shuffle
        call = f"ps.from_sequence(generator, {', '.join(words)})"
    warnings.warn(
        f"{old}() is kept for old code. Write instead: model.{new}({call}, ...)",
        FutureWarning,
        stacklevel=3,
    )


class _ReadAhead:
    """What an iterator gives, taken from it by a thread, `most` batches ahead."""

    def __init__(self, batches: Iterator[Any], most: int) -> None:
        self._batches = batches
        self._made: queue.Queue[tuple[str, Any]] = queue.Queue(most)
        self._stopped = threading.Event()

    def start(self) -> Generator[Batch, None, None]:
        """The batches, in a form that Keras takes."""
        threading.Thread(target=self._run, name="penstock-generator", daemon=True).start()
        return self._take()

    def stop(self) -> None:
        """Ends the thread: TensorFlow keeps what it was given, and would keep that as well."""
        self._stopped.set()

    def _take(self) -> Generator[Batch, None, None]:
        while not self._stopped.is_set():
            try:
                kind, content = self._made.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise content
            yield content

    def _run(self) -> None:
        try:
            for number, batch in enumerate(self._batches):
                if not self._put("batch", as_batch(batch, number)):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001 - relayed
            self._put("error", error)

    def _put(self, kind: str, content: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._made.put((kind, content), timeout=_WAIT_SECONDS)
            except queue.Full:
                continue
            return True
        return False
