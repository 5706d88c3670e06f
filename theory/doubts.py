"""What is added to the error of a moment because a Python function is known only through its values."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from theory.activation import CallableActivation
from theory.gaussian import Functional, expectations

_NOISELESS = 1e-14  # relative noise that the error of the quadrature covers
_DIFFERENCE_FLOOR = 2e-12  # least error of phi'^2 where phi' comes from differences


def moment_doubts(activation: CallableActivation, names: Collection[str]) -> dict[str, float]:
    """What errors of the values and slopes of a Python function can add to the errors of its moments.

    Values are known to the rounding noise seen, ten standard deviations of it; slopes by differences to what twice
    the step changes.
    """
    noise = 10 * activation.survey.noise
    sizes: Mapping[str, Functional] = {
        "mean": lambda _z, value, _slope: noise * np.abs(value),
        "second": lambda _z, value, _slope: 2 * noise * value**2,
        "mean_tilt": lambda z, value, _slope: noise * np.abs(value) * (z * z + 1),
        "second_tilt": lambda z, value, _slope: 2 * noise * value**2 * (z * z + 1),
        "slope_second": lambda _z, _value, slope: 2 * noise * slope**2,
    }
    wanted = {name: sizes[name] for name in names if name in sizes} if noise > _NOISELESS else {}
    doubts = {name: size.value for name, size in expectations(activation, wanted).items()} if wanted else {}
    if activation.derivative is None and "slope_second" in names:
        miss = expectations(activation, {"": _difference_doubt(activation)})[""]
        doubts["slope_second"] = doubts.get("slope_second", 0.0) + miss.value + miss.error
    return doubts


def _difference_doubt(activation: CallableActivation) -> Functional:
    """Bound on the error of phi'^2 where phi' comes from differences."""

    def doubt(z: Any, _value: Any, slope: Any) -> Any:
        miss = activation.slope_error(z)
        return np.maximum(miss * (2 * np.abs(slope) + miss), _DIFFERENCE_FLOOR)  # what is below is rounding noise

    return doubt
