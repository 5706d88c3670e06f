"""Figures: each a `matplotlib.figure.Figure` with a title that states the finding.

`gpn.pictures` puts captions beside them, made of the same evidence; `gpn.plot_style` has what they share.
"""

from gpn.plot_activation import activation_and_slope, hermite_spectrum, length_map_cobweb
from gpn.plot_exceedance import exceedance_against_width
from gpn.plot_gradients import gradient_by_layer
from gpn.plot_style import PALETTE
from gpn.plot_tightness import bound_tightness
from gpn.plot_width import probability_against_unknown

__all__ = [
    "PALETTE",
    "activation_and_slope",
    "bound_tightness",
    "exceedance_against_width",
    "gradient_by_layer",
    "hermite_spectrum",
    "length_map_cobweb",
    "probability_against_unknown",
]
