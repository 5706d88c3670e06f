"""Numerical verification of bidirectionally self-normalizing networks.

The names below are loaded on first use, so that `import gpn` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpn._version import __version__

if TYPE_CHECKING:
    from gpn.activation_report import check_report
    from gpn.adapters import activation
    from gpn.auditing import audit
    from gpn.checking import check, normalize
    from gpn.depth import depth_profiles
    from gpn.engine import Network
    from gpn.explorer import explore
    from gpn.report import VerificationReport
    from gpn.reproduction import reproduce
    from gpn.simulation import simulate
    from gpn.snippets import export
    from gpn.statistics import Verdict
    from gpn.training import train
    from gpn.verification import resume, verify
    from gpn.width import carried_depth, guaranteed_epsilon, required_width
    from theory.claims import claim

_HOMES = {
    "Network": "gpn.engine",
    "VerificationReport": "gpn.report",
    "Verdict": "gpn.statistics",
    "activation": "gpn.adapters",
    "audit": "gpn.auditing",
    "carried_depth": "gpn.width",
    "check": "gpn.checking",
    "check_report": "gpn.activation_report",
    "claim": "theory.claims",
    "depth_profiles": "gpn.depth",
    "explore": "gpn.explorer",
    "export": "gpn.snippets",
    "guaranteed_epsilon": "gpn.width",
    "normalize": "gpn.checking",
    "reproduce": "gpn.reproduction",
    "required_width": "gpn.width",
    "resume": "gpn.verification",
    "simulate": "gpn.simulation",
    "train": "gpn.training",
    "verify": "gpn.verification",
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
    "explore",
    "export",
    "guaranteed_epsilon",
    "normalize",
    "reproduce",
    "required_width",
    "resume",
    "simulate",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpn' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
