"""Where depth leads the length of a signal under a gain and biases, and what a layer does to gradients there."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from theory.activations.activation import NumericActivation
from theory.depth.fixed_points import HIGHEST, MARGINAL, GradientRate, LengthDynamics, dynamics_and_rates

Phase = Literal["vanishing", "edge of chaos", "exploding"]


@dataclass(frozen=True, slots=True)
class End:
    """Where depth leads a variance of the pre-activations.

    Args:
        q: the limit; 0 and infinity included, which stands for all beyond 1e6.
        chi: factor of the squared norm of a gradient per layer at `chi_q`.
    """

    q: float
    chi: float

    @property
    def chi_q(self) -> float:
        """The variance at which chi is taken: q, or 1e6 where q grows beyond."""
        return min(self.q, HIGHEST)


@dataclass(frozen=True, slots=True)
class Regime:
    """What a gain and biases make of an infinitely wide network.

    Args:
        gain, bias: g and sigma_b.
        lengths: fixed points of the variance of the pre-activations, and whether every variance is one, as for ReLU
            with gain sqrt 2.
        end: where depth leads an input of squared length 1 per neuron, whose first variance is g^2 + sigma_b^2.
        sides: where depth leads from just below and from just above the variance 1, if that is a fixed point that
            repels: networks of finite width leave it to either side, by chance. Else empty.
    """

    gain: float
    bias: float
    lengths: LengthDynamics
    end: End
    sides: tuple[End, ...]

    @property
    def q(self) -> float:
        """The variance of the pre-activations to which depth leads an input of squared length 1 per neuron."""
        return self.end.q

    @property
    def chi(self) -> float:
        """Factor of the squared norm of a gradient per layer at q (at 1e6 if q is larger)."""
        return self.end.chi

    @property
    def phase(self) -> Phase:
        """Whether squared gradients vanish, keep their size or explode at q."""
        if abs(self.chi - 1) < MARGINAL:
            return "edge of chaos"
        return "vanishing" if self.chi < 1 else "exploding"


def regime(activation: NumericActivation, gain: float = 1.0, bias: float = 0.0) -> Regime:
    r"""Follow the variance of the pre-activations to its limit, and give the factor of gradients there.

    .. math:: q_{l+1} = g^2 E\, \phi(\sqrt{q_l}\, z)^2 + \sigma_b^2, \quad q_1 = g^2 + \sigma_b^2, \qquad
        \chi = g^2 E\, \phi'(\sqrt{q_*}\, z)^2

    (Poole et al. 2016; Schoenholz et al. 2017.) Orthogonal weights g W and Gaussian ones of variance g^2/n have these
    same limits at infinite width: they differ in fluctuations and in the spectrum of the Jacobian.

    Args:
        activation: phi without jumps.
        gain: g, between 1e-3 and 1e3.
        bias: sigma_b, the standard deviation of the biases.

    >>> from theory.activations.specification import activation
    >>> tanh = regime(activation("tanh"), 5 / 3)
    >>> round(tanh.q, 4), round(tanh.chi, 4), tanh.phase  # sqrt(q)/gain = 0.651 is the size of the signal
    (1.1785, 1.2098, 'exploding')
    """
    lengths, limit, sides = dynamics_and_rates(activation, gain * gain + bias * bias, gain=gain, bias=bias)
    return Regime(gain, bias, lengths, _end(limit), tuple(map(_end, sides)))


def _end(limit: GradientRate) -> End:
    return End(limit.q, float(np.exp(limit.rate)))
