"""Numerical verification of bidirectionally self-normalizing networks.

The names below are loaded on first use, so that `import gpn` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpn._version import __version__

if TYPE_CHECKING:
    from gpn.adapters import activation
    from gpn.audit import audit
    from gpn.checking import check, normalize
    from gpn.depth import depth_profiles
    from gpn.engine import Network
    from gpn.report import VerificationReport
    from gpn.simulation import simulate
    from gpn.statistics import Verdict
    from gpn.verification import resume, verify
    from gpn.width import carried_depth, guaranteed_epsilon, required_width
    from theory.claims import claim

_HOMES = {
    "Network": "gpn.engine",
    "VerificationReport": "gpn.report",
    "Verdict": "gpn.statistics",
    "activation": "gpn.adapters",
    "audit": "gpn.audit",
    "carried_depth": "gpn.width",
    "check": "gpn.checking",
    "claim": "theory.claims",
    "depth_profiles": "gpn.depth",
    "guaranteed_epsilon": "gpn.width",
    "normalize": "gpn.checking",
    "required_width": "gpn.width",
    "resume": "gpn.verification",
    "simulate": "gpn.simulation",
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
    "claim",
    "depth_profiles",
    "guaranteed_epsilon",
    "normalize",
    "required_width",
    "resume",
    "simulate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpn' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
