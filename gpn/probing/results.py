"""What `gpn.probe` returns: a row for each part of the model, findings, and the source with its scales."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from gpn.probing.judging import Judgement
from theory.activations.specification import Phi

KEPT = 0.1
"""A layer that by its own theory changes log |x|^2/n or log |dE/dx|^2 by more than this is not normalized."""


class Answer(StrEnum):
    """Yes, no, or undecided."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"

    def __bool__(self) -> NoReturn:
        raise TypeError(f"this answer is {self.value!r}: compare it with Answer.YES, Answer.NO or Answer.UNDECIDED")


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of the model: a linear map, an activation, a sum, a normalization, or what theory does not know.

    Numbers are means over initializations and inputs.

    Args:
        layer: number of the linear map or convolution, from 1; that of the map before it for an activation; 0 else.
        kind, name, label: what it is, its module, and its activation or function.
        width_in, width: entries of a row (neurons, channels) before and after it.
        rows: of one sample: 1 for a vector, else tokens or pixels.
        weights, gain, bias: the ensemble, sqrt(|W|_F^2/n_out), and the root mean square of the bias.
        length_in, length: squared length per entry before and after it.
        gradient: squared norm of dE/doutput for one input.
        weight_gradient: |dE/dW|_F for all inputs together.
        correlation: cosine of the first two inputs after it.
        nonfinite: entries that are infinite or no number, in all initializations.
        dtype: of its output.
        forward: |output|^2 beside its law.
        backward: beside its law: of a map |W^T dE/dh|^2, of an activation |dE/dh|^2 / |dE/dx|^2.
        forward_factor, backward_factor: by which, after its own theory, it multiplies squared lengths per entry and
            squared gradients; nan where there is none.
        follows: whether it follows its law; undecided where it has none.
    """

    layer: int
    kind: str
    name: str
    label: str
    width_in: int
    width: int
    rows: int
    weights: str
    gain: float
    bias: float
    length_in: float
    length: float
    gradient: float
    weight_gradient: float
    correlation: float
    nonfinite: int
    dtype: str
    forward: Judgement | None
    backward: Judgement | None
    forward_factor: float
    backward_factor: float
    follows: Answer

    def record(self) -> dict[str, Any]:
        """The row of the frame: laws as columns."""
        plain = asdict(self)
        for side in ("forward", "backward"):
            del plain[side]
        size = self.width * self.rows
        for side, judgement, unit in (("forward", self.forward, size), ("backward", self.backward, 1)):
            for name in ("measured", "predicted", "lower", "upper", "probability"):
                value = float("nan") if judgement is None else getattr(judgement, name)
                plain[f"{side}_{name}"] = value / unit if name != "probability" else value
        return plain | {"follows": self.follows.value}


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear map and the activation after it.

    Args:
        map, activation: their rows; None where no activation follows.
        phi: the activation.
        transposed: whether the scale of the weights is one of the transposed matrix.
        aside: whether it lies in a branch, so that signals and gradients pass beside it, too.
    """

    map: PartRow
    activation: PartRow | None
    phi: Phi | None
    transposed: bool
    aside: bool = False

    @property
    def number(self) -> int:
        return self.map.layer

    @property
    def forward(self) -> float:
        """The factor of the squared length, by its own theory."""
        after = 1.0 if self.activation is None else self.activation.forward_factor
        return self.map.forward_factor * after

    @property
    def backward(self) -> float:
        """The factor of the squared gradient from its output to its input, by its own theory."""
        return float("nan") if self.activation is None else self.activation.backward_factor * self.map.backward_factor

    @property
    def kept(self) -> bool:
        """Whether theory keeps lengths and gradients, as far as it covers them."""
        logs = np.log([value for value in (self.forward, self.backward) if np.isfinite(value) and value > 0])
        lost = any(value == 0 for value in (self.forward, self.backward))
        return not lost and bool(np.all(np.abs(logs) <= KEPT))

    @property
    def known(self) -> bool:
        """Whether theory covers both directions."""
        return bool(np.isfinite(self.forward) and np.isfinite(self.backward))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know about the model.

    Args:
        kind: a short key, as "gain" or "bias".
        layers: the numbers of the layers.
        text: one sentence.
        weight: "departs" and "not normalized" decide the answers, a "note" does not.
    """

    kind: str
    layers: tuple[int, ...]
    text: str
    weight: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ProbeReport(Result):
    """What `gpn.probe` returns.

    Args:
        model: its name.
        library: "PyTorch" or "JAX".
        initializations: how many independent ones were measured.
        fresh: how they were made.
        samples: inputs of each.
        level: of all bands together.
        comparisons: how many squared norms were compared with a law.
        rows: the parts of the model, in the order in which they ran.
        sums: the mean step, forward and backward, over all steps that follow one by one; None where too few fluctuate.
        findings: in the order of their weight.
        follows: whether every part follows the theory of itself.
        normalized: whether, by the theory of itself, every layer keeps squared lengths and gradients.
    """

    model: str
    library: str
    initializations: int
    fresh: str
    samples: int
    level: float
    comparisons: int
    rows: tuple[PartRow, ...]
    sums: tuple[Judgement | None, ...]
    findings: tuple[Finding, ...]
    follows: Answer
    normalized: Answer

    @property
    def code(self) -> int:
        """The exit code of `gpn probe`: 0 follows and is normalized, 1 not, 3 undecided."""
        answers = (self.follows, self.normalized)
        if Answer.NO in answers:
            return 1
        return 0 if answers == (Answer.YES, Answer.YES) else 3

    @property
    def layers(self) -> int:
        """The number of linear maps and convolutions."""
        return max((row.layer for row in self.rows), default=0)

    def found(self, kind: str) -> tuple[int, ...]:
        """The layers of all findings of one kind."""
        return tuple(layer for finding in self.findings if finding.kind == kind for layer in finding.layers)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each part; lengths and their laws are per entry."""
        return pd.DataFrame([row.record() for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        given = ("model", "library", "initializations", "fresh", "samples", "level", "comparisons")
        return {
            **{name: getattr(self, name) for name in given},
            "follows": self.follows.value,
            "normalized": self.normalized.value,
            "sums": {
                side: None if law is None else finite_record(asdict(law))
                for side, law in zip(("forward", "backward"), self.sums, strict=True)
            },
            "findings": [asdict(finding) for finding in self.findings],
            "parts": [finite_record(row.record()) for row in self.rows],
        }

    def annotated(self) -> str:
        """Return the model as it ran, one line for each part, with its forward and backward scale."""
        source: str = import_module("gpn.report.words.probing").annotated_source(self)
        return source

    def __repr__(self) -> str:
        return (
            f"<ProbeReport {self.model}: {self.layers} layers, follows its theory: {self.follows.value}, normalized: "
            f"{self.normalized.value}>"
        )
