"""Figures: each a `matplotlib.figure.Figure` with a title that states the finding.

It imports `gpn.report.words` and below. Begin with `style`, which has what the figures share; captions are made of the
same evidence in `gpn.report.pages.pictures`.
"""

from gpn.report.plots.activation import activation_and_slope, hermite_spectrum, length_map_cobweb
from gpn.report.plots.exceedance import exceedance_against_width, plot_exceedance
from gpn.report.plots.gradients import gradient_by_layer
from gpn.report.plots.style import PALETTE
from gpn.report.plots.tightness import bound_tightness
from gpn.report.plots.width import probability_against_unknown

__all__ = [
    "PALETTE",
    "activation_and_slope",
    "bound_tightness",
    "exceedance_against_width",
    "gradient_by_layer",
    "hermite_spectrum",
    "length_map_cobweb",
    "plot_exceedance",
    "probability_against_unknown",
]
