"""Is an activation Gaussian-Poincaré normalized, and if not, which a and b make it so?"""

from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from gpn.checking.depth import DepthProfile, depth_profiles
from gpn.engine.arguments import vocabulary
from gpn.experiment.files import finite
from gpn.experiment.result import Shown
from theory.activations.activation import Activation
from theory.activations.catalog import CATALOG
from theory.activations.entry import Entry
from theory.activations.specification import Phi, activation, read_activation
from theory.balls.core import NotCertified
from theory.balls.decimal import DecimalNumber, digits_of
from theory.depth.coefficients import certified_coefficients
from theory.depth.length_map import DepthFactor, depth_factors
from theory.errors import UsageError
from theory.gaussian.certified import certified_moments
from theory.gaussian.closed_form import ClosedForm, closed_form
from theory.gaussian.hermite import HermiteSpectrum, correlation_slopes, hermite_spectrum
from theory.gaussian.moments import Normalization
from theory.normalization import normalize as normalize_module
from theory.normalization.conditions import Conditions, gaussian_poincare
from theory.normalization.normalize import NormalizedActivation, NormalizedCallable
from theory.numerics.budget import UNLIMITED, Budget

MAX_DIGITS = 1000
"""More digits than this take longer than a few minutes."""
NEAR = 0.05
"""How far E phi^2 and E phi'^2 may be from 1 for constants that were meant to be GPN."""


TIME_LIMIT = 20.0
"""Seconds of processor time for one activation."""


class CheckedConditions(Conditions, Shown):
    """The conditions of one activation, as `check` returns them: a notebook shows them as tables."""

    __slots__ = ()


@vocabulary()
def check(
    spec: object, digits: int = 30, *, derivative: object = None, time_limit: float = TIME_LIMIT
) -> CheckedConditions:
    r"""Check the Gaussian-Poincaré conditions of an activation as it is.

    $$E\,\phi(z)^2 = E\,\phi'(z)^2 = 1, \qquad z \sim N(0, 1)$$

    (Lu, Gould, Ajanthan 2020, "Bidirectionally Self-Normalizing Neural Networks", arXiv 2006.12169).

    Args:
        spec: a name, a formula, a SymPy expression, a function on arrays, "module:function", a PyTorch module or a
            PyTorch or JAX function, as for `gpn.activation`. For a function nothing is certified: its kinks, jumps and
            undefined parts are detected numerically, and the report says so.
        digits: significant digits of the moments, 1 to 1000.
        derivative: derivative of a Python function, as a function or "module:function"; it is compared with
            differences. If left out, automatic differentiation (PyTorch, JAX) or differences are used.
        time_limit: seconds of processor time. Parts of the report that need more are left out, and
            `given_up` lists them.

    Returns:
        The moments, both normalizations a*phi + b with their stability in depth, Lipschitz constants, kinks
        and jumps; what cannot be normalized is an outcome with a reason.

    Raises:
        UsageError: a specification that cannot be read, a derivative that does not match, or digits out of range.

    >>> conditions = check("gelu")
    >>> conditions.is_gpn, [(root.root, root.b, root.stability) for root in conditions.normalizations]
    ('fails', [('plus', 0.07387..., 'unstable'), ('minus', -0.909506..., 'stable')])
    """
    return check_within(Budget(time_limit), spec, digits, derivative)[1]


def check_within(budget: Budget, spec: object, digits: int, derivative: object) -> tuple[Phi, CheckedConditions]:
    """The activation and its conditions, within a budget; arguments and errors as for `check`."""
    if not 1 <= digits <= MAX_DIGITS:
        raise UsageError(f"digits must be between 1 and {MAX_DIGITS}, not {digits}; 30 are plenty")
    phi = read_activation(budget, spec, derivative=derivative)
    found = gaussian_poincare(phi, digits, budget=budget)
    return phi, CheckedConditions(**{field.name: getattr(found, field.name) for field in fields(found)})


@vocabulary()
def normalize(
    spec: object, root: str = "auto", *, derivative: object = None
) -> NormalizedActivation | NormalizedCallable:
    r"""Return the Gaussian-Poincaré normalized activation a*phi + b, with the b of `root`.

    $$a = (E\,\phi'^2)^{-1/2}, \qquad b_\pm = -a\,E\phi \pm \sqrt{1 - a^2 \mathrm{Var}\,\phi}$$

    (Lu, Gould, Ajanthan 2020.) The result knows `a`, `b`, `chi`, `root` and `base`. The constants alone are given
    by `theory.normalization.normalize.normalization`.

    Args:
        spec, derivative: as for `check`.
        root: "auto" takes b_plus unless the squared length is unstable in depth with it, then b_minus; "plus";
            "minus"; "stable" takes the smaller |chi|.

    Raises:
        UsageError: a specification that cannot be read, an unknown root, or an activation without normalization.

    >>> normalize("tanh")
    <GPN tanh = a phi + b: a = 1.467414, b = 0.3885417, chi = 0.39147, root plus, stable>
    """
    return normalize_module.normalize(activation(spec, derivative=derivative), root)


def near_miss(spec: object, conditions: Conditions) -> tuple[DepthFactor, ...]:
    """Cost over 10, 100 and 1000 layers of an activation that is nearly, but not quite, GPN.

    Args:
        spec: the activation.
        conditions: what `check` returns for this activation.

    Returns:
        The mean-field factors (see `theory.depth.length_map.depth_factors`); nothing for an activation that is GPN, or
        that misses the conditions by more than `NEAR`.

    >>> factors = near_miss("1.4674*tanh(x)+0.3885", check("1.4674*tanh(x)+0.3885"))
    >>> [(factor.depth, round(factor.squared_gradient, 3)) for factor in factors]
    [(10, 1.0), (100, 1.001), (1000, 1.012)]
    """
    moments = (conditions.second_moment, conditions.slope_second_moment)
    if conditions.is_gpn != "fails" or conditions.normalizable != "yes":
        return ()
    if any(moment is None or abs(moment - 1) > NEAR for moment in moments):
        return ()
    return depth_factors(activation(spec))


@dataclass(frozen=True, slots=True)
class Details:
    """Details that `gpn check --verbose` adds: closed forms, the Hermite spectrum, slopes of the correlation map.

    Args:
        closed_form: exact expressions of the moments, a, b and chi, or None.
        spectrum: Hermite coefficients with the identities that check them.
        correlation_slope, correlation_curvature: C'(1) = E phi'^2 and C''(1) = E phi''^2; infinite where they diverge.
        depth: what depth does to the activation as it is and to its normalizations, at one width.
        coefficients: for each normalization ("plus", "minus") the certified coefficients of the laws of depth as
            decimal strings, all digits correct (see `theory.depth.coefficients`), or why there are none.
    """

    closed_form: ClosedForm | None
    spectrum: HermiteSpectrum
    correlation_slope: float
    correlation_curvature: float
    depth: tuple[DepthProfile, ...]
    coefficients: dict[str, dict[str, str] | str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "closed_form": None if self.closed_form is None else self.closed_form.to_dict(),
            "hermite": self.spectrum.to_dict(),
            "correlation_slope": finite(self.correlation_slope),
            "correlation_curvature": finite(self.correlation_curvature),
            "depth": [profile.to_dict() for profile in self.depth],
            "coefficients": self.coefficients,
        }


def details(spec: object, order: int = 60, budget: Budget | None = None) -> Details | None:
    """Closed forms, Hermite spectrum, correlation map and depth horizon of an activation with finite moments.

    Args:
        spec: as for `check`.
        order: the highest Hermite degree.
        budget: processor time. Closed forms and coefficients that are not finished in it are missing; nothing is
            returned if the others are not finished.

    >>> relu = details("relu")
    >>> relu.closed_form.second_moment, relu.correlation_curvature
    (1/2, inf)
    """
    phi, time = activation(spec), budget or UNLIMITED
    numerical = time.attempt(
        "details: Hermite spectrum, correlation map and depth",
        0.85,
        lambda: (correlation_slopes(phi), hermite_spectrum(phi, order), depth_profiles(phi)),
        None,
    )
    if numerical is None:
        return None
    (slope, curvature), spectrum, profiles = numerical
    exact = None
    if isinstance(phi, Activation):
        exact = time.attempt("details: closed forms", 0.9, partial(closed_form, phi), None)
    late: dict[str, dict[str, str] | str] = {"plus": "not certified: the time limit is reached"}
    coefficients = time.attempt("details: coefficients of depth", 1.0, lambda: _depth_coefficients(phi), late)
    return Details(exact, spectrum, slope.value, curvature.value, profiles, coefficients)


def _depth_coefficients(phi: Phi) -> dict[str, dict[str, str] | str]:
    moments = certified_moments(phi, 20)
    roots = moments if isinstance(moments, NotCertified) else moments.normalizations()
    if isinstance(moments, NotCertified) or isinstance(roots, NotCertified):
        return {"plus": f"not certified: {getattr(roots, 'reason', '')}"}
    coefficients: dict[str, dict[str, str] | str] = {}
    for root in roots:
        law = certified_coefficients(moments, root)
        if isinstance(law, NotCertified):
            coefficients[root.root] = f"not certified: {law.reason}"
        else:
            coefficients[root.root] = {name: digits_of(ball, 12) for name, ball in law.by_symbol().items()}
    return coefficients


def normalization_facts(conditions: Conditions, normalization: Normalization[DecimalNumber]) -> dict[str, Any]:
    """Return what `gpn normalize --json` prints: a and b as float64 numbers that read back exactly."""
    return {
        "name": conditions.name,
        "expression": conditions.expression,
        "normalizable": conditions.normalizable,
        "reason": conditions.reason,
        **asdict(normalization),
    }


def catalog_facts() -> list[dict[str, Any]]:
    """Every activation known by name with its recommended normalization, or the reason why there is none.

    >>> [row["name"] for row in catalog_facts()][:2]
    ['identity', 'relu']
    """
    return [_catalog_row(name, entry) for name, entry in CATALOG.items()]


def _catalog_row(name: str, entry: Entry) -> dict[str, Any]:
    conditions = check(name, 15)
    root = next((root for root in conditions.normalizations if root.recommended), None)
    return {
        "name": name,
        "definition": entry.summary,
        "aliases": list(entry.aliases),
        "parameters": {parameter.name: float(parameter.default) for parameter in entry.parameters},
        "source": entry.source,
        "normalizable": conditions.normalizable,
        "reason": conditions.reason,
        "root": None if root is None else root.root,
        "a": None if root is None else root.a,
        "b": None if root is None else root.b,
        "chi": None if root is None else root.chi,
        "stability": None if root is None else root.stability,
    }
