"""A matplotlib figure that notebooks display; the only module that imports matplotlib at import."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class StatsFigure(Figure):
    """A figure without a window, created without pyplot.

    IPython displays figures only of its inline backend. A figure with `_repr_png_` is displayed
    once in any case: the inline backend, where it is active, replaces that method.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
