"""Trains on handwritten digits in an HDF5 file larger than the memory budget.

The 1,797 scans of scikit-learn are split first: every fifth scan of each digit is kept aside for
validation. From the other scans, random shifts, rotations, scalings and noise make the training
samples of a gzip-compressed HDF5 file. `headrace fit` trains on this file and validates on the
scans kept aside, which no training sample was made from. Run it with `make demo`, or:

    pip install "headrace[jax,demo]"
    python examples/digits.py
"""

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits

SIDE = 32  # pixels of an enlarged scan; the scans of scikit-learn have 8
BRIGHTEST = 16  # largest value of a pixel in a scan
ROWS_PER_CHUNK = 64
ROWS_PER_WRITE = 64 * ROWS_PER_CHUNK
TARGET = 0.97  # accuracy on the scans kept aside
VERSION = 1  # version of the data files; increase it to have them made again


def split_scans(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The scans (n, 8, 8) and labels (n,) of "train" and "valid", which gets a fifth of each digit.

    Args:
        seed: Decides which scans are kept aside.
    """
    scans, labels = load_digits(return_X_y=True)
    scans = scans.reshape(-1, 8, 8).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(scans))
    # A stable sort of a random order: random within each digit.
    by_digit = order[np.argsort(labels[order], kind="stable")]
    kept = by_digit[::5]
    rest = np.setdiff1d(by_digit, kept)
    return {"train": (scans[rest], labels[rest]), "valid": (scans[kept], labels[kept])}


def enlarge(
    scans: np.ndarray,
    *,
    shift: np.ndarray | float = 0.0,
    angle: np.ndarray | float = 0.0,
    scale: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Resamples scans (n, 8, 8) to 32x32 pixels, shifted, rotated and scaled about their centre.

    Args:
        scans: Values 0 to 16, float32.
        shift: Shift down and right in pixels of the scan, (n, 2) or one number.
        angle: Rotation in radians, (n,) or one number.
        scale: Scale factor, (n,) or one number.

    Returns:
        Values 0 to 255 as float32, of shape (n, 32, 32), interpolated linearly.
    """
    n = len(scans)
    shift = np.broadcast_to(np.float32(shift), (n, 2))[:, :, None, None]
    angle = np.broadcast_to(np.float32(angle), n)[:, None, None]
    scale = np.broadcast_to(np.float32(scale), n)[:, None, None]
    # For each output pixel, compute the place in the scan that it shows. The scan is padded with a
    # dark border, so that interpolation fades out at its edges.
    grid = (np.arange(SIDE, dtype=np.float32) + 0.5) * (8 / SIDE) - 4
    down, right = grid[:, None] - shift[:, 0], grid[None, :] - shift[:, 1]
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    top = np.clip(cos * down - sin * right + 4.5, 0, 9 - 1e-3)
    left = np.clip(sin * down + cos * right + 4.5, 0, 9 - 1e-3)
    row, column = top.astype(np.intp), left.astype(np.intp)
    top, left = top - row, left - column
    flat = np.pad(scans, ((0, 0), (1, 1), (1, 1))).ravel()
    corner = np.arange(n)[:, None, None] * 100 + row * 10 + column
    above = flat[corner] * (1 - left) + flat[corner + 1] * left
    below = flat[corner + 10] * (1 - left) + flat[corner + 11] * left
    return (above * (1 - top) + below * top) * np.float32(255 / BRIGHTEST)


def vary(scans: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random variations of scans at 32x32 pixels, as uint8 of shape (n, 32, 32)."""
    n = len(scans)
    images = enlarge(
        scans,
        shift=rng.uniform(-0.75, 0.75, (n, 2)),
        angle=rng.uniform(-0.25, 0.25, n),
        scale=rng.uniform(0.85, 1.15, n),
    )
    images += rng.standard_normal(images.shape, dtype=np.float32) * 4
    return np.clip(images, 0, 255).astype(np.uint8)


def write(path: Path, count: int, make, attributes: dict[str, int], what: str) -> None:
    """Writes `count` images and labels from `make(start, stop)`, gzip-compressed, atomically."""
    part = path.with_suffix(".part")
    console = Console()
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with (
        h5py.File(part, "w") as file,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        image = file.create_dataset(
            "image",
            (count, SIDE, SIDE),
            np.uint8,
            chunks=(min(ROWS_PER_CHUNK, count), SIDE, SIDE),
            compression="gzip",
            compression_opts=4,
        )
        label = file.create_dataset("label", (count,), np.uint8)
        file.attrs.update(attributes)
        task = progress.add_task(what, total=count)
        for start in range(0, count, ROWS_PER_WRITE):
            stop = min(start + ROWS_PER_WRITE, count)
            image[start:stop], label[start:stop] = make(start, stop)
            progress.update(task, completed=stop)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def is_made(path: Path, attributes: dict[str, int]) -> bool:
    """Whether an earlier run has made the file with the same attributes."""
    if not path.exists():
        return False
    try:
        with h5py.File(path) as file:
            return dict(file.attrs) == attributes
    except OSError:
        return False


def make_files(folder: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Makes the training and the validation file, unless an earlier run has made them."""
    folder.mkdir(parents=True, exist_ok=True)
    train, valid = folder / "train.h5", folder / "valid.h5"
    attributes = {"version": VERSION, "count": count, "seed": seed}
    if is_made(train, attributes) and is_made(valid, attributes):
        print(f"Using {train} and {valid} from an earlier run")
        return train, valid
    parts = split_scans(seed)

    def varied(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        scans, labels = parts["train"]
        rng = np.random.default_rng((seed, start))
        chosen = rng.integers(len(scans), size=stop - start)
        return vary(scans[chosen], rng), labels[chosen]

    def plain(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        scans, labels = parts["valid"]
        return enlarge(scans[start:stop]).round().astype(np.uint8), labels[start:stop]

    started = time.perf_counter()
    write(train, count, varied, attributes, "making train.h5")
    write(valid, len(parts["valid"][0]), plain, attributes, "making valid.h5")
    print(
        f"Made {train}: {count:,} images from {len(parts['train'][0]):,} scans, "
        f"{count * SIDE * SIDE / 1e6:,.0f} MB, {train.stat().st_size / 1e6:,.0f} MB in the file, "
        f"in {time.perf_counter() - started:.0f} s"
    )
    return train, valid


def accuracy_of(model: Path, valid: Path) -> float:
    """The accuracy of a saved model on a file, read through Headrace."""
    from headrace.keras.backend import choose_backend

    choose_backend()
    import keras

    import headrace as hr

    data = hr.from_hdf5(valid, x="image", y="label")
    scores = keras.saving.load_model(model).evaluate(data.batch(256), verbose=0, return_dict=True)
    return float(scores["accuracy"])


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--folder", type=Path, default=Path(".demo"), help="default: %(default)s")
    options.add_argument("--count", type=int, default=2**18, help="images (default: %(default)s)")
    options.add_argument("--epochs", type=int, default=1, help="default: %(default)s")
    options.add_argument("--memory", default="32MB", help="for samples (default: %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    return options


def main() -> int:
    """Makes the files, trains, and checks the accuracy; returns the exit code."""
    options = parser().parse_args()
    train, valid = make_files(options.folder, options.count, options.seed)
    model = options.folder / "model.keras"
    headrace = Path(sysconfig.get_path("scripts")) / "headrace"
    command = [str(headrace), "fit", str(train), "--x", "image", "--y", "label"]
    command += ["--validation", str(valid), "--epochs", str(options.epochs), "--batch-size", "32"]
    command += ["--memory", options.memory, "--seed", str(options.seed), "--out", str(model)]
    print("$ " + shlex.join(["headrace", *command[1:]]), flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        return done.returncode

    accuracy = accuracy_of(model, valid)
    verdict = "at least" if accuracy >= TARGET else "below"
    print(f"Accuracy on the scans kept aside: {accuracy:.2%}, {verdict} {TARGET:.0%}")
    return 0 if accuracy >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
