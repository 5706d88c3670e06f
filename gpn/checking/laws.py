r"""Do drawn networks follow the laws of separation and isometry? Rows with a verdict for `gpn.spectrum`.

The laws are those of infinite width. With u = sigma^2/n they miss the median over networks at width n by at most

    2u of its logarithm, for the mean square, for 1 + sigma^2 and for 1 - rho_L;  4u, for the third moment;
    u, for the ratio of the tangent kernel,

as far as was measured, and not proved (docs/trainability.md). Beyond u = 1/4 a row is vacuous. The limits of the
median are exact, so that `violated` and `holds` are wrong about the drawn law with the stated probability.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gpn.experiment.files import finite_record
from gpn.sampling.simulation import simulate
from gpn.statistics.limits import Verdict, median_limits, row_alpha, within
from theory.activations.specification import Phi
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray
from theory.trainability.separation import separation
from theory.trainability.tangent_kernel import tangent_kernel_ratio

PAIRED = ("haar", "gaussian", "he", "glorot")
"""Weights of which pairs of inputs are drawn without a matrix."""

PAIRS = 100
"""Networks with a pair of inputs."""

_LARGEST = 0.25  # sigma^2/n at which the error is half of what is predicted
_SLACK = {"tangent_kernel": 0.05}  # beyond the error, within which limits confirm; of the logarithm of the others 0.1
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Law:
    """A law of infinite width and its error.

    Args:
        claim: the id of the claim.
        errors: the error at finite width over sigma^2/n.
        relative: whether it is an error of the logarithm of (offset + the quantity).
        offset: see there.
    """

    claim: str
    errors: float = 2.0
    relative: bool = True
    offset: float = 0.0

    def around(self, predicted: float, error: float) -> tuple[float, float]:
        """What lies within the error of the prediction."""
        if not self.relative:
            return predicted - error, predicted + error
        whole = self.offset + predicted
        with np.errstate(over="ignore"):
            low, high = np.exp(-error), np.exp(error)
        return whole * float(low) - self.offset, whole * float(high) - self.offset


LAWS: Mapping[str, Law] = {
    "mean": Law("jacobian-spectrum"),
    "relative_variance": Law("finite-width-spectrum", offset=1.0),
    "third_moment": Law("jacobian-spectrum", errors=4.0),
    "separation": Law("separation"),
    "tangent_kernel": Law("tangent-kernel-limit", errors=1.0, relative=False),
}
"""The quantities that are judged, by name; the claim of the separation depends on whether phi has kinks."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of orthogonal inputs at the top of networks, beside their laws.

    Args:
        kinked: whether phi has kinks.
        predicted: separation 1 - rho_L and ratio of the tangent kernel, at infinite width.
        measured: the same of each network, arrays (networks,).
    """

    kinked: bool
    predicted: Mapping[str, float]
    measured: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class LawRow:
    """What a law says of one quantity, and what drawn networks say.

    Args:
        quantity: one of `LAWS`.
        claim: the id of the claim.
        networks: how many were drawn.
        predicted: by the law.
        allowed_lower, allowed_upper: what its error at this width allows.
        median: over the networks.
        lower, upper: exact limits of the median, for all rows together.
        verdict: violated if the limits lie outside of what is allowed, holds if they lie within a tenth beyond it (0.05
            for the ratio of the tangent kernel), else undecided; vacuous where the law says nothing at this width.
    """

    quantity: str
    claim: str
    networks: int
    predicted: float
    allowed_lower: float
    allowed_upper: float
    median: float
    lower: float
    upper: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON; an infinite number is null."""
        return finite_record(asdict(self) | {"verdict": str(self.verdict)})


def draw_pairs(phi: Phi, width: int, depth: int, weights: str, rng: np.random.Generator) -> Pairs | None:
    r"""Draw the two numbers of pairs of orthogonal inputs, matrix-free; None where there is no law or no sampler.

    .. math:: 1 - \frac{\langle x_L, x_L' \rangle}{|x_L| |x_L'|}, \qquad
              \frac{\sum_l \langle \nabla_l(x), \nabla_l(x') \rangle}
              {\sqrt{\sum_l |\nabla_l(x)|^2 \sum_l |\nabla_l(x')|^2}}

    The readout is one vector of signs over sqrt(n), which has no share in the mean of x_L. The inner product of two
    gradients is half of what the squared norm of their sum has beyond those of each.

    Args:
        phi: the activation; without E phi^2 = 1, or with jumps, it has no law.
        width, depth: n and L.
        weights: the ensemble.
        rng: the randomness.
    """
    try:
        laws = separation(phi)
    except UsageError:
        return None
    if weights not in PAIRED:
        return None
    signs = rng.choice([-1.0, 1.0], width) / np.sqrt(width)
    ends: dict[str, Any] = {"inputs": np.sqrt(width) * np.eye(2, width), "readout": np.tile(signs, (2, 1))}
    sample = simulate(phi, width, depth, PAIRS, seed=rng, weights=weights, batch=2, grams=True, **ends)
    assert sample.batch_gradient_norms is not None
    with np.errstate(all="ignore"):
        squares = sample.gradient_norms**2
        across = (sample.batch_gradient_norms**2 - squares.sum(axis=-1)).sum(axis=1) / 2
        ratios = across / np.sqrt(np.prod(squares.sum(axis=1), axis=-1))
    return Pairs(
        laws.kinks > 0,
        {"separation": float(laws.losses(depth)[-1]), "tangent_kernel": float(tangent_kernel_ratio(laws, depth)[-1])},
        {"separation": 1 - sample.correlations[:, -1, 0, 1], "tangent_kernel": ratios},
    )


def law_rows(
    predicted: Mapping[str, float], measured: Mapping[str, FloatArray], unit: float, kinked: bool, level: float
) -> tuple[LawRow, ...]:
    """Judge every quantity for which there are a law and a measurement.

    Args:
        predicted: the predictions, by name.
        measured: the same of each network, arrays (networks,).
        unit: sigma^2/n, in which errors at finite width are measured.
        kinked: whether phi has kinks.
        level: of all rows together.
    """
    judged = [name for name in LAWS if name in predicted and name in measured]
    alpha = row_alpha(level, len(judged)) / 2
    return tuple(_row(name, predicted[name], measured[name], unit, kinked, alpha) for name in judged)


def _row(name: str, predicted: float, values: FloatArray, unit: float, kinked: bool, alpha: float) -> LawRow:
    law, (lower, upper) = LAWS[name], median_limits(values, alpha)
    error = law.errors * unit + _ROUNDING
    allowed = law.around(predicted, error)
    low, high = law.around(predicted, error + _SLACK.get(name, 0.1))
    if unit > _LARGEST or not np.isfinite(predicted):
        verdict = Verdict.VACUOUS
    elif upper < allowed[0] or lower > allowed[1]:
        verdict = Verdict.VIOLATED
    else:
        verdict = within(lower, upper, low, high)
    kinks = ("separation-without-kinks", "separation-with-kinks")[kinked]
    claim = kinks if law.claim == "separation" else law.claim
    return LawRow(name, claim, len(values), predicted, *allowed, float(np.median(values)), lower, upper, verdict)
