"""The paper's experiments by name."""

from importlib import import_module
from typing import Any

from theory.errors import UsageError, unknown

EXPERIMENTS = {
    "gradients": "gpn.reproduction.gradients:gradient_profiles",
    "training": "gpn.reproduction.comparison:training_comparison",
    "table-1": "gpn.reproduction.table_1:table_1",
}
"""Name of an experiment -> the function that runs it."""


def reproduce(name: str, **options: Any) -> Any:
    """Run an experiment of the paper (Lu, Gould, Ajanthan 2020, arXiv 2006.12169) and return its report.

    Args:
        name: a key of `EXPERIMENTS`: "gradients", gradient norms by layer at initialization
            (`gpn.reproduction.gradients.gradient_profiles`); "training", very deep networks trained on real data beside
            their baselines (`gpn.reproduction.comparison.training_comparison`); "table-1", the setting of the paper's
            Table 1 as it was (`gpn.reproduction.table_1.table_1`).
        options: the keywords of that function.

    Returns:
        A report with to_frame(), to_dict(), plot() and save(folder).

    Raises:
        UsageError: an unknown name, or an option that the experiment does not have or cannot use.

    >>> reproduce("gradients", activations=["relu"], width=32, depth=8, trials=10, batch=4, batches=())
    <GradientReport relu: width 32, depth 8>
    """
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    module, function = EXPERIMENTS[name].split(":")
    run = getattr(import_module(module), function)
    known = run.__annotations__
    strange = [option for option in options if option not in known]
    if strange:
        allowed = ", ".join(option for option in known if option != "return")
        raise UsageError(f"{name!r} has no option {', '.join(strange)}; it has {allowed}")
    return run(**options)
