"""A matplotlib figure that notebooks show; imported only where matplotlib is installed."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class StatsFigure(Figure):
    """A figure without a window, and none of pyplot's.

    IPython shows figures of its inline backend alone. One with `_repr_png_` is shown once in any
    case: the backend, where it is on, takes its place.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
