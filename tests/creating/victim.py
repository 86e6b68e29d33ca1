"""A process whose children write a file until they are killed: one for each line it gets.

A line holds the arguments of `write` as JSON. A child says on its standard output which process it
is, and how many rows are safe, each time that it knows. It ends by itself only if it is told to
close the file, so that however late a kill comes, it does not come too late.
"""

import json
import os
import signal
import sys

import numpy as np

import headrace as hr
from headrace.creating import store
from tests.creating.helpers import FIELDS, samples


def write(path, length, seed, rows, seconds, close=False, die_at=0):
    """Goes on with a file, up to so many rows.

    Args:
        path: The file.
        length: As for `create`.
        seed: Of what is done.
        rows: How many there will be; those that are there get the values that they have.
        seconds: After how long rows are flushed.
        close: Whether the file is closed then.
        die_at: The call of the system at which the process kills itself while it closes the file.
    """
    rng = np.random.default_rng(seed)
    store.SECONDS = seconds
    with hr.create(path, FIELDS, length, overwrite=True, resume=True) as writer:
        say("process", os.getpid())
        while len(writer) < rows or not close:
            if rng.random() < 0.5 and len(writer):
                row = int(rng.integers(0, len(writer)))
                image, label = samples(row, 1)
                writer["image"][row], writer["label"][row] = image[0], label[0]
            count = min(int(rng.integers(1, 40)), rows - len(writer))
            if count:
                writer.write(samples(len(writer), count))
            if rng.random() < 0.3:
                writer.flush()
                say("safe", len(writer))
            else:
                say("written", len(writer))
        writer.flush()
        if die_at:
            die(die_at)
    sys.setprofile(None)
    say("closed", rows)


def die(count):
    """Kills this process at so many calls of the system from now on."""

    def look(frame, event, function):
        nonlocal count
        if event == "c_call" and function.__module__ in ("posix", "nt"):
            count -= 1
            if not count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)


def say(*words):
    """Tells the test."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main():
    """Has a child for each line."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            write(**json.loads(line))
            os._exit(0)
        say("ended", os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
