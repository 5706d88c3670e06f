"""The evidence of a verification, and its views: frame, JSON, words, figures, files."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from gpn.experiment.result import Result
from gpn.statistics.evidence import IMPORTANCE_SAMPLING
from gpn.statistics.limits import Verdict, combine
from gpn.verification.kinds import Kind, kind_of
from theory.claims.claim import Claim
from theory.claims.counted import CountedClaim
from theory.claims.registry import claim, claims_of_bound
from theory.numerics.arithmetic import FloatArray


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was asked for: all that is needed to run the same verification again.

    Trials None means planned, or with until = "decided" as many as decide each row, up to the cap (None: planned).
    Spec and derivative are what was typed for them, None where it was no text (or nothing); labels are a path, "array",
    or None where none were given beside the inputs.
    """

    activation: str
    expression: str | None
    root: str | None
    scale: float
    shift: float
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    epsilons: tuple[float, ...]
    deep_epsilons: tuple[float, ...]
    trials: int | None
    seed: int
    level: float
    weights: str
    inputs: str | None
    readout: str = "random"
    until: str | None = None
    cap: int | None = None
    spec: str | None = None
    derivative: str | None = None
    labels: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What theory says of one event at one width, depth and epsilon, and what the trials say of it.

    Args:
        claim: the id of the claim whose event was counted, one of `CountedClaim`.
        side: "upper" (>= 1 + epsilon), "lower" (<= 1 - epsilon) or "either" (|log ratio| >= epsilon).
        trials, exceedances, estimate: networks, those that showed the event, and the frequency.
        lower, upper: exact limits of its probability from these networks, that hold for all rows together.
        bound_kind: the name of a `Kind`: "levy", "cramer" and "deep" are upper bounds, "exact" is the exact
            probability, "prediction" that of an asymptotic law; "none (...)" names what does not apply and why.
        bound: the bound, or the exact or predicted probability; None where none is known.
        prediction: the exact probability for one layer, the predicted one for a network; None where unknown.
        method: "counting", or "importance sampling" for events too rare to be counted: then the verdict follows from
            weighted draws as well, which test an integral over the sphere and no network. "counting, anytime": the row
            stopped once it was decided, after `trials`; the limits hold whenever that was.
        equal: whether the bound coincides with the exact probability, so that no trials can tell them apart; the
            verdict is then that on an exact probability.
        draws, effective_draws: weighted draws, and how many draws of equal weight they are worth.
        weighted_estimate, weighted_lower, weighted_upper: their mean, and limits of the probability from them.
    """

    claim: str
    activation: str
    width: int
    depth: int
    epsilon: float
    side: str
    trials: int
    exceedances: int
    estimate: float
    lower: float
    upper: float
    bound_kind: str
    bound: float | None
    prediction: float | None
    verdict: Verdict
    method: str = "counting"
    equal: bool = False
    draws: int = 0
    effective_draws: float | None = None
    weighted_estimate: float | None = None
    weighted_lower: float | None = None
    weighted_upper: float | None = None

    @property
    def event(self) -> tuple[str, int, int, float, str]:
        """What rows about the same event share: claim, width, depth, epsilon, side."""
        return self.claim, self.width, self.depth, self.epsilon, self.side

    @property
    def kind(self) -> Kind:
        """The record of `bound_kind`."""
        return kind_of(self.bound_kind)

    @property
    def is_weighted(self) -> bool:
        """Whether the event is judged by importance sampling, beside the count of networks."""
        return self.method == IMPORTANCE_SAMPLING

    @property
    def best_estimate(self) -> float:
        """The mean of the weighted draws where there are any, else the frequency among networks."""
        return self.estimate if self.weighted_estimate is None else self.weighted_estimate

    @property
    def limits(self) -> tuple[float, float]:
        """The sharpest limits of the probability, from networks and weighted draws together."""
        low, high = self.weighted_lower, self.weighted_upper
        return (
            self.lower if low is None else max(self.lower, low),
            self.upper if high is None else min(self.upper, high),
        )

    @property
    def times_truth(self) -> float | None:
        """How many times the bound lies above the exact (or predicted) probability; None where that is unknown."""
        if self.bound is None or not self.prediction or not self.kind.is_bound:
            return None
        return self.bound / self.prediction

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claim whose event was counted, then those behind the bound it was compared with, if there is one."""
        return claim(self.claim), *claims_of_bound(self.claim, self.bound_kind)


@dataclass(frozen=True, slots=True)
class Profile:
    """Quantiles of |dE/dW_l|_F / sqrt(width) over networks, for every layer l = 1..depth.

    With |dE/dx_L| = 1 and an input on the thin shell this is 1 in every layer of a network that preserves norms.

    Args:
        role: "claim" for the verified network, "control" for one that the theorem does not cover.
        gradient_norms: array (depth, len(probabilities)).
        predicted: the same by the fluctuation law, None where it does not apply.
    """

    label: str
    role: str
    width: int
    depth: int
    trials: int
    probabilities: tuple[float, ...]
    gradient_norms: FloatArray
    predicted: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class DepthSpread:
    """Quantiles of max_l |log(|dE/dW_l|^2 / |dE/dW_L|^2)| over networks of one width and depth."""

    width: int
    depth: int
    trials: int
    median: float
    quantile_95: float


@dataclass(frozen=True, slots=True, repr=False)
class VerificationReport(Result):
    """What `gpn.verify` returns: configuration, rows of evidence, quantile profiles, notes and versions.

    Alpha is the one-sided error probability of each limit, with which the run was planned and judged.
    """

    config: Configuration
    rows: tuple[Row, ...]
    profiles: tuple[Profile, ...]
    spreads: tuple[DepthSpread, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    alpha: float = 0.005

    @property
    def verdict(self) -> Verdict:
        """The verdict of all rows together, but for predictions, which are no theorems.

        `holds` needs one thing more than that no row contradicts it: that no event of a single layer for which there is
        no bound below 1 is the rule rather than the exception.
        """
        verdict = combine([row.verdict for row in self.rows if not row.kind.is_prediction])
        return Verdict.UNDECIDED if verdict is Verdict.HOLDS and self._usual_events() else verdict

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims behind the rows, each once: statement, assumptions, proof, function and test."""
        return tuple(dict.fromkeys(behind for row in self.rows for behind in row.claims))

    @property
    def rows_by_integration(self) -> int:
        """How many rows about theory are judged by weighted draws, which test an integral and no network."""
        return sum(row.is_weighted for row in self._tested())

    @property
    def rows_by_networks(self) -> int:
        """How many rows about theory are judged by networks alone."""
        return len(self._tested()) - self.rows_by_integration

    def _tested(self) -> list[Row]:
        return [row for row in self.rows if not row.kind.is_prediction and row.verdict is not Verdict.VACUOUS]

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(row) | {"verdict": str(row.verdict)} for row in self.rows]

    def _usual_events(self) -> int:
        one_layer = [row for row in self.rows if row.claim != CountedClaim.NETWORK]
        return sum(row.verdict is Verdict.VACUOUS and row.lower > 0.5 for row in one_layer)

    def to_frame(self) -> pd.DataFrame:
        """The rows as a pandas frame, one column for each field of `Row`."""
        frame = pd.DataFrame(self._records(), columns=[field.name for field in fields(Row)])
        floats = ("bound", "prediction", "effective_draws", "weighted_estimate", "weighted_lower", "weighted_upper")
        return frame.astype(dict.fromkeys(floats, float))

    def plan(self) -> pd.DataFrame:
        """For each row the trials it had, and how many decide it with probability 0.95 (missing: no number does)."""
        columns = ["claim", "width", "depth", "epsilon", "side", "bound_kind", "bound", "method", "trials", "verdict"]
        needed = [row.kind.trials_wanted(row.bound, row.prediction, self.alpha) for row in self.rows]
        return self.to_frame()[columns].assign(trials_wanted=np.array(needed, dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """{verdict, rows, config, versions}, ready for JSON: None where a number is missing."""
        return {
            "verdict": str(self.verdict),
            "rows": self._records(),
            "config": asdict(self.config) | {"notes": list(self.notes)},
            "versions": self.versions,
        }

    def summary(self) -> str:
        """The verdict in one paragraph of words."""
        theory = [row for row in self.rows if not row.kind.is_prediction]
        counts = {verdict: sum(row.verdict is verdict for row in theory) for verdict in Verdict}
        testable = len(theory) - counts[Verdict.VACUOUS]
        sentences = [
            f"Verdict: {self.verdict} (all rows together at level {self.config.level:g}).",
            f"Rows with an exact law or a bound below 1: {testable}, of which {counts[Verdict.HOLDS]} hold, "
            f"{counts[Verdict.VIOLATED]} are violated and {counts[Verdict.UNDECIDED]} are undecided "
            f"({self.rows_by_integration} rows by integration, {self.rows_by_networks} by networks). "
            f"Rows without one, or about an event that theory excludes: {counts[Verdict.VACUOUS]}, no evidence.",
        ]
        predictions = [row.verdict for row in self.rows if row.kind.is_prediction]
        if predictions:
            sentences.append(
                f"Predictions, which are no theorems: {predictions.count(Verdict.HOLDS)} of {len(predictions)} "
                f"confirmed within a factor 2, {predictions.count(Verdict.VIOLATED)} missed by more."
            )
        if usual := self._usual_events():
            sentences.append(
                f"In {usual} rows of a single layer the event is seen in most trials: norms do not concentrate."
            )
        deep = [row for row in theory if row.claim == CountedClaim.NETWORK and row.verdict is not Verdict.VACUOUS]
        if not deep:
            sentences.append("The verdict is on single layers: no bound below 1 for the whole network was tested.")
        if self.spreads and self.spreads[-1].depth > 1:
            sentences.append(_spread_in_words(self.spreads[-1]))
        return " ".join(sentences)

    def __repr__(self) -> str:
        return f"<VerificationReport {self.config.activation}: {self.verdict}, {len(self.rows)} rows>"


def _spread_in_words(spread: DepthSpread) -> str:
    where = f"At width {spread.width} and depth {spread.depth}"
    if not np.isfinite(spread.quantile_95):
        return f"{where}, gradients vanish or overflow in more than 5 % of {spread.trials} networks."
    return (
        f"{where}, the squared gradient norm of every layer stays within a factor {np.exp(spread.median):.3g} of the "
        f"top layer's in half of {spread.trials} networks, and within {np.exp(spread.quantile_95):.3g} in 95 % of them."
    )
