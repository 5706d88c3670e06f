"""Figures: each a `matplotlib.figure.Figure` with a title that states the finding.

It imports `gpn.report.words` and below. Begin with `style`, which has what the figures share; captions are made of the
same evidence in `gpn.report.pages.pictures`.
"""

from gpn.report.plots.activation import activation_and_slope, edge_of_chaos, hermite_spectrum, length_map_cobweb
from gpn.report.plots.comparison import accuracies_by_depth, losses_by_epoch, norms_while_training
from gpn.report.plots.exceedance import exceedance_against_width, exceedance_legend, exceedance_panel, plot_exceedance
from gpn.report.plots.gradients import gradient_by_layer
from gpn.report.plots.probing import scales_by_layer
from gpn.report.plots.profiles import gradient_profiles
from gpn.report.plots.style import PALETTE
from gpn.report.plots.tightness import bound_tightness
from gpn.report.plots.trainability import design_path, jacobian_spectrum
from gpn.report.plots.training import training_run
from gpn.report.plots.width import probability_against_unknown

__all__ = [
    "PALETTE",
    "accuracies_by_depth",
    "activation_and_slope",
    "bound_tightness",
    "design_path",
    "edge_of_chaos",
    "exceedance_against_width",
    "exceedance_legend",
    "exceedance_panel",
    "gradient_by_layer",
    "gradient_profiles",
    "hermite_spectrum",
    "jacobian_spectrum",
    "length_map_cobweb",
    "losses_by_epoch",
    "norms_while_training",
    "plot_exceedance",
    "probability_against_unknown",
    "scales_by_layer",
    "training_run",
]
