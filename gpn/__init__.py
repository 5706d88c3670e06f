"""Numerical verification of bidirectionally self-normalizing networks.

The names below are loaded on first use, so that `import gpn` is quick.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpn._version import __version__

if TYPE_CHECKING:
    from gpn.checking.auditing import audit
    from gpn.checking.check import check, normalize
    from gpn.checking.depth import depth_profiles
    from gpn.checking.designing import design
    from gpn.checking.results import check_report
    from gpn.checking.snippets import export
    from gpn.checking.spectrum import spectrum
    from gpn.engine.network import Network
    from gpn.probing.gain import gain
    from gpn.probing.probe import probe
    from gpn.report.explorer.widget import explore
    from gpn.report.pages.claims import claim
    from gpn.report.plots.exceedance import plot_exceedance
    from gpn.reproduction.reproduce import reproduce
    from gpn.sampling.simulation import simulate
    from gpn.statistics.limits import Verdict
    from gpn.training.train import train
    from gpn.verification.results import VerificationReport
    from gpn.verification.verify import resume, verify
    from gpn.verification.width import carried_depth, guaranteed_epsilon, required_width
    from theory.activations.specification import activation


def _refuse_a_foreign_theory() -> None:
    """Stop if `theory` is a package of somebody else: the current folder comes first, and may have one."""
    here = Path(__file__).resolve().parents[1]
    spec = find_spec("theory")
    origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if origin is not None and origin.parents[1] != here:
        raise ImportError(
            f"gpn comes with a package named theory, but Python finds another one first: {origin}. Rename that one, or "
            "start Python in another folder."
        )


_refuse_a_foreign_theory()

_HOMES = {
    "Network": "gpn.engine.network",
    "VerificationReport": "gpn.verification.results",
    "Verdict": "gpn.statistics.limits",
    "activation": "theory.activations.specification",
    "audit": "gpn.checking.auditing",
    "carried_depth": "gpn.verification.width",
    "check": "gpn.checking.check",
    "check_report": "gpn.checking.results",
    "claim": "gpn.report.pages.claims",
    "depth_profiles": "gpn.checking.depth",
    "design": "gpn.checking.designing",
    "explore": "gpn.report.explorer.widget",
    "export": "gpn.checking.snippets",
    "gain": "gpn.probing.gain",
    "guaranteed_epsilon": "gpn.verification.width",
    "normalize": "gpn.checking.check",
    "plot_exceedance": "gpn.report.plots.exceedance",
    "probe": "gpn.probing.probe",
    "reproduce": "gpn.reproduction.reproduce",
    "required_width": "gpn.verification.width",
    "resume": "gpn.verification.verify",
    "simulate": "gpn.sampling.simulation",
    "spectrum": "gpn.checking.spectrum",
    "train": "gpn.training.train",
    "verify": "gpn.verification.verify",
}

__all__ = [
    "Network",
    "Verdict",
    "VerificationReport",
    "__version__",
    "activation",
    "audit",
    "carried_depth",
    "check",
    "check_report",
    "claim",
    "depth_profiles",
    "design",
    "explore",
    "export",
    "gain",
    "guaranteed_epsilon",
    "normalize",
    "plot_exceedance",
    "probe",
    "reproduce",
    "required_width",
    "resume",
    "simulate",
    "spectrum",
    "train",
    "verify",
]


_FRAMEWORKS = ("torch", "jax")  # modules that need one of them


def __getattr__(name: str) -> Any:
    if name in _FRAMEWORKS:
        return import_module(f"gpn.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'gpn' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
