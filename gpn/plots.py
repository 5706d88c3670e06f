"""Kept for `from gpn.plots import ...`."""

from gpn.report.plots import *  # noqa: F403
from gpn.report.plots import __all__  # noqa: F401
