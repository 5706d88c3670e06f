"""What the experiment on gradients is asked for, and the kinds of networks that it draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from theory.activations.specification import Phi
from theory.activations.specification import activation as read_activation
from theory.balls.decimal import DecimalNumber
from theory.depth.batch_normalization import length_slope
from theory.errors import UsageError
from theory.gaussian.moments import Normalization
from theory.normalization.normalize import normalization

PLAIN, GPN, BATCH_NORMALIZED = "as it is", "GPN", "batch norm"
SAME_CHI = 1e-9
"""Two roots whose chi differ by less behave alike: an odd activation has mirror images."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the experiment on gradients.

    Args:
        width, depth: n and L.
        trials: number of networks of each kind with one input.
        batch, batch_trials: inputs of each network with batch normalization, and the number of such networks.
        batches: batch sizes in the table of growth.
        level: confidence level of each interval.
        seed: seed of the run.
    """

    width: int
    depth: int
    trials: int
    batch: int
    batch_trials: int
    batches: tuple[int, ...]
    level: float
    seed: int


def several(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """Check that an argument is a list of at least one.

    Raises:
        UsageError: a text, or an empty list.
    """
    if isinstance(values, str) or not len(values):
        raise UsageError(f"{name} must be a list of at least one, not {values!r}")
    return values


def check_level(level: float) -> float:
    """Check that a confidence level lies between 0 and 1.

    Raises:
        UsageError: it does not.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}; try 0.95")
    return float(level)


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of network: an activation, what is done to it, and the weights.

    Args:
        name: name of the activation as it is.
        phi: the activation that the network applies.
        treatment: "as it is", "GPN" or "batch norm".
        weights: "haar" or "gaussian".
        root, chi: of a normalization; with batch normalization chi is `theory.depth.batch_normalization.length_slope`.
        batch: batch size of a measurement of growth.
    """

    name: str
    phi: Phi
    treatment: str
    weights: str
    root: str | None = None
    chi: float | None = None
    batch: int | None = None


def variants(spec: object) -> Iterator[Variant]:
    """Yield an activation as it is, with the recommended root, with the other root if it behaves differently, and batch
    normalized.

    Args:
        spec: as for `gpn.activation`.

    Raises:
        UsageError: an activation that cannot be read or has no normalization.

    >>> [(variant.treatment, variant.root) for variant in variants("gelu") if variant.weights == "haar"]
    [('as it is', None), ('GPN', 'minus'), ('GPN', 'plus'), ('batch norm', None)]
    """
    phi = read_activation(spec)
    chosen, other = roots(phi)
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, phi, PLAIN, weights)
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, normalized(phi, chosen), GPN, weights, chosen.root, chosen.chi)
    if other is not None:
        yield Variant(phi.name, normalized(phi, other), GPN, "haar", other.root, other.chi)
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, phi, BATCH_NORMALIZED, weights, chi=length_slope(phi))


def roots(phi: Phi) -> tuple[Normalization[DecimalNumber], Normalization[DecimalNumber] | None]:
    """Return the recommended normalization of phi, and the other one if it behaves differently in depth.

    Raises:
        UsageError: phi has no normalization.
    """
    chosen = normalization(phi, "auto")
    other = normalization(phi, "minus" if chosen.root == "plus" else "plus")
    alike = other.root == chosen.root or abs(other.chi - chosen.chi) <= SAME_CHI
    return chosen, None if alike else other


def normalized(phi: Phi, normalization: Normalization[DecimalNumber]) -> Phi:
    """Return a phi + b under the name that reports use."""
    return phi.affine(normalization.a, normalization.b, f"GPN {phi.name}")
