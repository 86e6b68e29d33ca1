"""The summary of a training run, as JSON data and as aligned text lines."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.dataset import Dataset
from headrace.errors import printable
from headrace.loading.report import Shuffle, epochs_took
from headrace.resources import format_bytes, peak_rss


def summarise(
    *,
    file: Path,
    backend: str,
    model: str,
    training: Dataset,
    validation: Dataset | None,
    loader: Any,
    validation_loader: Any | None,
    history: Mapping[str, list[float]],
    saved: Path | None,
) -> dict[str, Any]:
    """The summary of one `fit`, as JSON data.

    Sizes are in bytes, times in seconds; a loss or metric that is not finite is None.
    """
    report = loader.report()
    loaders = [loader] if validation_loader is None else [loader, validation_loader]
    return {
        "file": str(file),
        "backend": backend,
        "model": model,
        "epochs": len(next(iter(history.values()), [])),
        "batch_size": loader.batch_size,
        "seed": loader.seed,
        "samples": {
            "training": len(training),
            "validation": None if validation is None else len(validation),
        },
        "decoded_bytes": {
            "training": len(training) * training.spec.nbytes,
            "validation": None if validation is None else len(validation) * validation.spec.nbytes,
        },
        "memory": {
            "budget": sum(one.memory for one in loaders),
            "peak_loader": sum(one.report().peak_bytes for one in loaders),
            "peak_process": peak_rss(),
        },
        "seconds": report.seconds,
        "epoch_seconds": report.epoch_seconds,
        "samples_per_second": report.samples_per_second,
        "wait_share": report.wait_share,
        "paths": report.paths,
        "shuffle": report.shuffle,
        "metrics": {name: _finite(values[-1]) for name, values in history.items() if values},
        "history": {name: [_finite(v) for v in values] for name, values in history.items()},
        "saved": None if saved is None else str(saved),
        "report": report.to_dict(),
    }


def to_text(summary: Mapping[str, Any]) -> str:
    """The summary as text: a name and a value on each line, in two columns."""
    rows = _rows(summary)
    width = max(len(name) for name, _ in rows)
    return "\n".join(printable(f"{name:<{width}}  {value}") for name, value in rows)


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    samples, decoded, memory = summary["samples"], summary["decoded_bytes"], summary["memory"]
    epochs = f"{summary['epochs']} epoch{'s' * (summary['epochs'] != 1)}"
    batches = f"batches of {summary['batch_size']}"
    rows = [
        ("samples", _both(samples, lambda n: f"{n:,}")),
        ("decoded size", _both(decoded, format_bytes)),
        ("model", f"{summary['model']}, on {summary['backend']}"),
        ("training", f"{epochs}, {batches}, seed {summary['seed']}"),
        ("memory budget", format_bytes(memory["budget"])),
        ("peak of the loader", format_bytes(memory["peak_loader"])),
        ("peak of the process", format_bytes(memory["peak_process"])),
        ("speed", f"{summary['samples_per_second']:,.0f} samples/s"),
        ("epochs took", epochs_took(summary["epoch_seconds"])),
        ("waited for data", f"{summary['wait_share']:.1%} of the time"),
    ]
    for field, path in summary["paths"].items():
        rows.append((f"read path of {field}", f"{path['path']}: {path['reason']}"))
    rows.append(("shuffle", str(Shuffle(**summary["shuffle"]))))
    for name, value in summary["metrics"].items():
        shown = "not finite" if value is None else f"{value:.4f}"
        rows.append((name.replace("val_", "validation "), shown))
    rows.append(("saved to", summary["saved"] or "nowhere (--out saves the model)"))
    return rows


def _both(counts: Mapping[str, Any], form: Any) -> str:
    text = f"{form(counts['training'])} for training"
    if counts["validation"] is None:
        return text
    return f"{text}, {form(counts['validation'])} for validation"


def _finite(value: float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
