"""Numerical verification of bidirectionally self-normalizing networks.

The names below are loaded on first use, so that `import gpn` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpn._version import __version__

if TYPE_CHECKING:
    from gpn.audit import audit
    from gpn.checking import check, normalize
    from gpn.depth import depth_profiles
    from gpn.engine import Network
    from gpn.report import VerificationReport
    from gpn.simulation import simulate
    from gpn.statistics import Verdict
    from gpn.verification import verify
    from theory.specification import activation

_HOMES = {
    "Network": "gpn.engine",
    "VerificationReport": "gpn.report",
    "Verdict": "gpn.statistics",
    "activation": "theory.specification",
    "audit": "gpn.audit",
    "check": "gpn.checking",
    "depth_profiles": "gpn.depth",
    "normalize": "gpn.checking",
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
    "check",
    "depth_profiles",
    "normalize",
    "simulate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpn' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
