"""All about one activation in a report: conditions, both roots, depth, spectrum, figures, page."""

import json
import os
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpn.checking import check as checking
from gpn.experiment.files import save_figure, write_text
from gpn.experiment.result import view
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theory.depth.length_map import DepthFactor
    from theory.normalization.conditions import Conditions


Phi = Activation | CallableActivation


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport:
    """What `check_report` returns.

    Args:
        spec: the activation as it was typed, None if it was no text.
        derivative: the derivative as it was typed, None if there was none.
        phi: the activation.
        conditions: whether it is GPN, and which a, b make it so.
        drift: what a near miss costs over depth, else nothing.
        details: closed forms, spectrum, depth; None if not wanted, and for what cannot be normalized.
    """

    spec: str | None
    derivative: str | None
    phi: Phi
    conditions: "Conditions"
    drift: "tuple[DepthFactor, ...]"
    details: checking.Details | None

    def networks(self) -> list[tuple[str, Phi]]:
        """The activation as given and, unless it is GPN already, each of its normalizations, with labels."""
        found: list[tuple[str, Phi]] = [("as given", self.phi)]
        if self.conditions.is_gpn != "holds":
            for root in self.conditions.normalizations:
                found.append((f"b_{root.root}", self.phi.affine(float(root.a), float(root.b))))
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `gpn check --json` prints, with details as far as the report has them."""
        found = self.conditions.as_dict()
        if self.drift:
            found["depth_factors"] = [asdict(factor) for factor in self.drift]
        return found if self.details is None else found | {"details": self.details.as_dict()}

    def to_html(self) -> str:
        """The report as one HTML page that needs nothing else: the same report gives the same bytes."""
        check_page = view("pages.check", "check_page")

        shown: str = check_page(self)
        return shown

    def plot(self) -> "Figure":
        """The activation and its slope, before and after normalization."""
        pictures = import_module("gpn.report.pages.pictures")

        shown: Figure = pictures.activation_picture(self).figure
        return shown

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write check.json, check.html and the figures into a folder; each file appears whole or not at all."""
        pictures = import_module("gpn.report.pages.pictures")

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = [write_text(folder / "check.json", json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")]
        for picture in pictures.of_check(self):
            written += save_figure(picture.figure, folder, picture.name, picture.caption)
        return [*written, write_text(folder / "check.html", self.to_html())]

    def __repr__(self) -> str:
        return f"<CheckReport {self.conditions.name}: GPN {self.conditions.is_gpn}>"

    def _repr_html_(self) -> str:
        """The verdict and the normalizations; both escape what was typed."""
        import pandas as pd

        element = view("pages.page", "element")
        check_verdict = view("words.findings", "check_verdict")

        roots = pd.DataFrame([asdict(root) for root in self.conditions.normalizations])
        verdict: str = element("p", str(check_verdict(self.conditions)))
        return verdict + ("" if roots.empty else roots.to_html(index=False))


def check_report(spec: Any, digits: int = 30, *, derivative: Any = None, detailed: bool = True) -> CheckReport:
    """Check an activation and gather what a page shows of it.

    Args:
        spec, digits, derivative: as for `gpn.check`.
        detailed: with closed forms, spectrum and depth, which take a second or two.

    Raises:
        UsageError: as for `gpn.check`.

    >>> check_report("gelu").networks()[2][0]
    'b_minus'
    """
    phi = activation(spec, derivative=derivative)
    conditions = checking.check(phi, digits)
    details = checking.details(phi) if detailed and conditions.normalizable == "yes" else None
    typed = [value if isinstance(value, str) else None for value in (spec, derivative)]
    return CheckReport(typed[0], typed[1], phi, conditions, checking.near_miss(phi, conditions), details)
