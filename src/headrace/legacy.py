"""Keras 2's `fit_generator` etc.: thin wrappers that name their replacement."""

import math
import queue
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from headrace.dataset import Dataset
from headrace.errors import BatchTimeoutError, OptionError, ProcessesError, check_integer
from headrace.loading import ItemLoader, Loader
from headrace.loading.items.batch import Batch, as_batch, copy_shared_arrays
from headrace.loading.timeouts import DEFAULT_TIMEOUT, stack_of_thread, timeout_error
from headrace.resources import drawn_seed
from headrace.sequence import from_sequence
from headrace.transform import with_class_weight

QUEUE_SIZE = 10
"""Batches that are prefetched by default."""

_KERAS_1_ARGUMENTS = {
    "samples_per_epoch": "steps_per_epoch, in batches",
    "nb_epoch": "epochs",
    "nb_val_samples": "validation_steps, in batches",
    "val_samples": "steps, in batches",
    "nb_worker": "workers",
    "pickle_safe": "use_multiprocessing",
    "max_q_size": "max_queue_size",
}
"""Arguments of Keras 1, and their replacements."""

_JOIN_SECONDS = 10.0
"""How long the end of a call waits for the batch that a generator is making."""

_POLL_SECONDS = 0.1
"""How often a thread that waits on the queue checks whether the call has ended."""


def fit_generator(
    model: Any,
    generator: Any,
    steps_per_epoch: float | None = None,
    epochs: int = 1,
    verbose: int | str = 1,
    callbacks: Sequence[Any] | None = None,
    validation_data: Any = None,
    validation_steps: float | None = None,
    validation_freq: int | Iterable[int] = 1,
    class_weight: Mapping[int, float] | None = None,
    max_queue_size: int = QUEUE_SIZE,
    workers: int = 1,
    use_multiprocessing: bool = False,
    shuffle: bool = True,
    initial_epoch: int = 0,
    **old: Any,
) -> Any:
    """`model.fit_generator(generator, ...)`, which Keras had until 2020.

    Emits a FutureWarning that shows the call to write instead.

    Args:
        model: A compiled Keras model.
        generator: A `Sequence` or any object with `__len__` and `__getitem__`, prefetched as by
            `from_sequence`; a generator, prefetched by one thread; or a loader.
        steps_per_epoch: Batches in an epoch, rounded up; needed for a generator.
        epochs: Number of the last epoch.
        verbose: As in `fit`.
        callbacks: As in `fit`.
        validation_data: An object of the same kinds, or a tuple of arrays.
        validation_steps: Batches to validate on; needed for a generator.
        validation_freq: As in `fit`.
        class_weight: As in `fit`.
        max_queue_size: Number of batches to prefetch.
        workers: Number of threads or processes; 0 means one thread. Only 0 or 1 for a generator.
        use_multiprocessing: Use processes in place of threads. If processes cannot be started,
            threads are used, with a warning that gives the reason.
        shuffle: Whether the batches of a `Sequence` come in random order.
        initial_epoch: As in `fit`.
        **old: Arguments of Keras 1; an error names the current argument.

    Returns:
        The `History` of `fit`.

    Raises:
        OptionError: If a generator is given without a number of steps, or with several workers.

    Example:

    ```python
    history = hr.fit_generator(model, my_sequence, epochs=2, workers=2)
    history = model.fit(hr.from_sequence(my_sequence, workers=2, shuffle=True), epochs=2)
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing, old) as options:
        _warn("fit_generator", "fit", generator, options, shuffle)
        if _is_plain_iterator(generator):
            # Keras cannot shuffle a generator, and accepts no class_weight with one.
            here = {"shuffle": False}
            weigh, class_weight = class_weight, None
        else:
            here, weigh = {}, None
        return model.fit(
            options.data(generator, steps_per_epoch, "steps_per_epoch", shuffle, weigh),
            **here,
            steps_per_epoch=_rounded_up(steps_per_epoch),
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=options.validation(validation_data, validation_steps),
            validation_steps=_rounded_up(validation_steps),
            validation_freq=_list_or_number(validation_freq),
            class_weight=class_weight,
            initial_epoch=initial_epoch,
        )


def evaluate_generator(
    model: Any,
    generator: Any,
    steps: float | None = None,
    callbacks: Sequence[Any] | None = None,
    max_queue_size: int = QUEUE_SIZE,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int | str = 0,
    **old: Any,
) -> Any:
    """`model.evaluate_generator(generator, ...)`; see `fit_generator`.

    Returns:
        What `evaluate` returns.

    Example:

    ```python
    loss = hr.evaluate_generator(model, my_sequence)
    loss = model.evaluate(hr.from_sequence(my_sequence))
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing, old) as options:
        _warn("evaluate_generator", "evaluate", generator, options)
        data = options.data(generator, steps, "steps")
        return model.evaluate(data, steps=_rounded_up(steps), callbacks=callbacks, verbose=verbose)


def predict_generator(
    model: Any,
    generator: Any,
    steps: float | None = None,
    callbacks: Sequence[Any] | None = None,
    max_queue_size: int = QUEUE_SIZE,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int | str = 0,
    **old: Any,
) -> Any:
    """`model.predict_generator(generator, ...)`; see `fit_generator`.

    Returns:
        What `predict` returns, in the order of the batches.

    Example:

    ```python
    predictions = hr.predict_generator(model, my_sequence)
    predictions = model.predict(hr.from_sequence(my_sequence))
    ```
    """
    with _Options(max_queue_size, workers, use_multiprocessing, old) as options:
        _warn("predict_generator", "predict", generator, options)
        data = options.data(generator, steps, "steps")
        return model.predict(data, steps=_rounded_up(steps), callbacks=callbacks, verbose=verbose)


class _Options:
    """How batches are prefetched."""

    def __init__(
        self,
        max_queue_size: int,
        workers: int,
        use_multiprocessing: bool,
        old: Mapping[str, Any],
    ) -> None:
        for name in old:
            new = _KERAS_1_ARGUMENTS.get(name)
            raise OptionError(f"Unknown argument {name}=." + (f" Use {new}." if new else ""))
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

    def data(
        self,
        generator: Any,
        steps: float | None,
        name: str,
        shuffle: bool = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> Any:
        """The object to pass to `fit`, `evaluate` or `predict` in place of a generator."""
        if isinstance(generator, (Loader, ItemLoader, Dataset)):
            return generator
        if not _is_plain_iterator(generator):
            return self._sequence(generator, shuffle)
        if steps is None:
            raise OptionError(f"A generator has no length: {name}= is needed with a generator.")
        if self.workers > 1 or self.processes:
            raise OptionError(
                "A generator cannot use several workers: threads would have to wait for each "
                "other, and processes with copies of it would all make the same batches. Leave "
                "workers= and use_multiprocessing= out, or replace the generator by a class with "
                "__len__ and __getitem__(i)."
            )
        ahead = _ReadAhead(generator, self.max_queue_size, class_weight)
        self._ahead.append(ahead)
        return ahead.start()

    def _sequence(self, sequence: Any, shuffle: bool) -> ItemLoader:
        options: dict[str, Any] = {
            "workers": self.workers,
            "max_queue_size": self.max_queue_size,
            "shuffle": shuffle,
            "seed": drawn_seed(),
        }
        if self.processes:
            try:
                return from_sequence(sequence, processes=True, **options)
            except ProcessesError as error:
                # Keras 2 forked, which needed neither a main guard nor pickling, so old programs
                # may lack both.
                self.processes = False
                warnings.warn(
                    "use_multiprocessing=True (processes=True in from_sequence()) is not possible "
                    f"here: using {self.workers} thread{'s' * (self.workers > 1)} instead. {error}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return from_sequence(sequence, **options)

    def validation(self, data: Any, steps: float | None) -> Any:
        """Like `data`, for validation data, which may be arrays."""
        if data is None or isinstance(data, (tuple, list)):
            return data
        return self.data(data, steps, "validation_steps")


def _warn(old: str, new: str, generator: Any, options: _Options, shuffle: bool = False) -> None:
    call = "generator"
    if not isinstance(generator, (Loader, ItemLoader, Dataset)) and not _is_plain_iterator(
        generator
    ):
        words = [f"workers={options.workers}"]
        words += ["processes=True"] * options.processes + ["shuffle=True"] * shuffle
        if options.max_queue_size != QUEUE_SIZE:
            words += [f"max_queue_size={options.max_queue_size}"]
        call = f"hr.from_sequence(generator, {', '.join(words)})"
    warnings.warn(
        f"{old}() is kept for old code. Write instead: model.{new}({call}, ...)",
        FutureWarning,
        stacklevel=3,
    )


def _is_plain_iterator(generator: Any) -> bool:
    """Whether this is an iterator whose batches have no index."""
    # The iterators of ImageDataGenerator are also indexable.
    by_index = hasattr(type(generator), "__len__") and hasattr(type(generator), "__getitem__")
    return isinstance(generator, Iterator) and not by_index


def _rounded_up(steps: float | None) -> int | None:
    """Rounds steps up as Keras 2 did: old programs give `len(x) / 32`."""
    return None if steps is None else math.ceil(steps)


def _list_or_number(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) else value


class _ReadAhead:
    """Prefetches up to `most` batches of an iterator in a thread."""

    def __init__(
        self,
        batches: Iterator[Any],
        most: int,
        class_weight: Mapping[int, float] | None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._hangs = False
        self._batches = batches
        self._finish = with_class_weight(lambda batch: batch, class_weight or {})
        self._weighs = class_weight is not None
        self._made: queue.Queue[tuple[str, Any]] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-generator", daemon=True)

    def start(self) -> Generator[Batch, None, None]:
        """Starts the thread, and returns the batches as a generator, which Keras accepts."""
        self._thread.start()
        return self._take()

    def stop(self) -> None:
        """Ends the thread. It would not end by itself, since TensorFlow keeps the generator."""
        self._stopped.set()
        if not self._hangs:
            # The caller cannot use the generator again while the thread runs it.
            self._thread.join(_JOIN_SECONDS)

    def _take(self) -> Generator[Batch, None, None]:
        number, waited = 0, 0.0
        while not self._stopped.is_set():
            try:
                kind, content = self._made.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                waited += _POLL_SECONDS
                if waited >= self._timeout:
                    raise self._hang_error(number) from None
                continue
            number, waited = number + 1, 0.0
            if kind == "end":
                return
            if kind == "error":
                raise content
            yield content

    def _hang_error(self, number: int) -> BatchTimeoutError:
        self._hangs = True
        return timeout_error(
            f"making batch {number}",
            self._timeout,
            stack_of_thread(self._thread.ident or 0),
            "If batches need more time, pass the generator directly to fit().",
        )

    def _run(self) -> None:
        try:
            for number, made in enumerate(self._batches):
                batch = copy_shared_arrays(as_batch(made, f"batch {number}"))
                if not self._put("batch", self._finish(batch) if self._weighs else batch):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001 - relayed
            self._put("error", error)

    def _put(self, kind: str, content: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._made.put((kind, content), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
