"""What every result can do: frame, dictionary, figure, page, files.

Results are computed below `gpn.report` and must not import it. `gpn.report.views` knows how each of them is shown and
is found here by name, when it is needed, as pandas finds its plotting backend.
"""

import os
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Shown:
    """Something that a notebook shows as `gpn.report.views` says."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        summary: str = _views().summary(self)
        return summary


class Result(Shown, ABC):
    """A result that can be shown in a notebook, as a figure, as a page, and written to files."""

    __slots__ = ()

    @abstractmethod
    def to_frame(self) -> "pd.DataFrame":
        """Return the numbers as a pandas frame."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return all of the result as plain data, ready for JSON."""

    def plot(self, name: str | None = None, *, ax: "Axes | None" = None) -> "Figure":
        """Draw a figure of the result.

        Args:
            name: which one, by the name of the file that `save` writes; None for the main one.
            ax: matplotlib axes to draw in; None for a new figure. A figure of several panels takes their place.

        Raises:
            UsageError: there is no figure of that name.
        """
        figure: Figure = _views().plot(self, name, ax)
        return figure

    def to_html(self) -> str:
        """Return one HTML page that needs no other file: the same result gives the same bytes."""
        page: str = _views().page(self)
        return page

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write tables (CSV), JSON, figures (PNG and PDF) and page into a folder; return the paths.

        Each file appears whole or not at all.
        """
        paths: list[Path] = _views().save(self, Path(directory))
        return paths


def headline(result: Result) -> str:
    """Return the finding of a result in words."""
    words: str = _views().headline(result)
    return words


def _views() -> ModuleType:
    return import_module("gpn.report.views")
