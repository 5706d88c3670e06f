"""The evidence of a verification, and its views: frame, JSON, words, figures, files."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gpn.experiment.files import finite_record
from gpn.experiment.result import Result, headline
from gpn.statistics.evidence import IMPORTANCE_SAMPLING
from gpn.statistics.limits import Verdict, combine
from gpn.verification.kinds import EXACT, PREDICTION, Kind, kind_of
from theory.claims.claim import Claim
from theory.claims.counted import GROUPS, chosen
from theory.claims.registry import claim, claims_of_bound
from theory.numerics.arithmetic import FloatArray

DEFAULT_EPSILONS = (0.1, 0.2)
DEFAULT_DEEP_EPSILONS = (0.5, 1.0)
NEEDED = 0.05
"""What the deep bound is to be at the width that a report says the theorem needs."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was asked for: all that is needed to run the same verification again.

    Trials None means planned, or with until = "decided" enough to decide each row, up to the cap (None: planned).
    Spec and derivative are what was typed for them, None where it was no text (or nothing); labels are a path, "array",
    or None where none were given beside the inputs. Claims are as in `theory.claims.counted.chosen`; theorem are pairs
    (width, depth) that were added because the deep bound says something there. Layers, gain, bias and residual are as
    in `gpn.verification.settings.Settings`.
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
    claims: tuple[str, ...] = chosen(None)
    default_widths: bool = False
    theorem: tuple[tuple[int, int], ...] = ()
    method: str = "matrix-free"
    layers: tuple[int, ...] = ()
    gain: tuple[float, ...] = (1.0,)
    bias: tuple[float, ...] = (0.0,)
    residual: float | None = None
    linear_output: bool = False

    @property
    def shape_words(self) -> str:
        """What the networks have beside square layers, for a title; empty for those of the theorem."""
        parts = [f"layers {', '.join(map(str, self.layers))}"] if self.layers else []
        if self.gain != (1.0,):
            parts.append(f"gain {', '.join(f'{gain:.6g}' for gain in self.gain)}")
        if self.bias != (0.0,):
            parts.append(f"bias {', '.join(f'{bias:.6g}' for bias in self.bias)}")
        if self.residual is not None:
            parts.append(f"branches x + {self.residual:.6g} phi")
        if self.linear_output:
            parts.append("a linear last layer")
        return ", ".join(parts)

    @property
    def has_default_epsilons(self) -> bool:
        """Whether the tolerances are those of a run that was not asked for others."""
        return (self.epsilons, self.deep_epsilons) == (DEFAULT_EPSILONS, DEFAULT_DEEP_EPSILONS)


@dataclass(frozen=True, slots=True)
class Row:
    """What theory says about one event at one width, depth and epsilon, and what the trials say about it.

    Args:
        claim: the id of the claim whose event was counted, one of `CountedClaim`, or of `EngineClaim`.
        side: "upper" (>= 1 + epsilon), "lower" (<= 1 - epsilon) or "either" (|log ratio| >= epsilon).
        trials, exceedances, estimate: networks, those that showed the event, and the frequency.
        unknown: networks of which float64 cannot tell, as their signals over- or underflow. The upper limit holds even
            if all of them showed the event, the lower one even if none did.
        lower, upper: exact limits of its probability from these networks, that hold for all rows together.
        bound_kind: the name of a `Kind`: "levy", "cramer" and "deep" are upper bounds, "exact" is the exact
            probability, "prediction" that of an asymptotic law, "engine" that of an exact law of the engine, or the
            mean of what should have mean 0; "none (...)" names what does not apply and why.
        bound: the bound, or the exact or predicted probability; None where none is known.
        prediction: the exact probability for one layer, the predicted one for a network; None where unknown.
        method: "counting", or "importance sampling" for events too rare to be counted: then the verdict follows from
            weighted draws as well, which test an integral over the sphere and no network. "counting, anytime": the row
            stopped once it was decided, after `trials`; the limits hold whenever that was.
        equal: whether the bound coincides with the exact probability, so that no trials can tell them apart; the
            verdict is then that on an exact probability.
        draws, effective_draws: weighted draws, and how many draws of equal weight they are worth.
        weighted_estimate, weighted_lower, weighted_upper: their mean, and limits of the probability from them.
        margin_lower, margin_upper: the probabilities that a prediction allows for, since its error is of order 1/width.
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
    margin_lower: float | None = None
    margin_upper: float | None = None
    unknown: int = 0

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
    def group(self) -> str:
        """Which of `theory.claims.counted.GROUPS` the row belongs to."""
        return next((group for group, claims in GROUPS.items() if self.claim in claims), "engine")

    @property
    def is_theory(self) -> bool:
        """Whether the row is about a theorem or a law, not about a prediction, or one that is missing."""
        return not (self.kind.is_prediction or self.bound_kind.startswith(f"none ({PREDICTION.name}:"))

    @property
    def is_tested(self) -> bool:
        """Whether theory says something that the trials could have contradicted."""
        return self.verdict is not Verdict.VACUOUS

    @property
    def is_settled(self) -> bool:
        """Whether theory leaves nothing to chance, and the trials agree: an event that never, or always, happens."""
        certain = self.kind.role == "exact" and self.bound == 1
        impossible = self.bound == 0 or (self.group != "network" and self.prediction == 0)
        return self.verdict is Verdict.VACUOUS and (certain or impossible)

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

    Alpha is the one-sided error probability of each limit, with which the run was planned and judged. Rows are about
    theory; those of `engine` test the engine by exact laws, and the frame has them after the others. Departures name,
    for each violated row of `engine`, the law and the first layer in which it fails. `needs` is the depth, the
    tolerance and the width from which on the deep bound is at most `NEEDED`, where the chosen widths are too small.
    Where signals leave their length, `log_lengths` are log q_0, ..., log q_L in the limit of infinite width.
    """

    config: Configuration
    rows: tuple[Row, ...]
    profiles: tuple[Profile, ...]
    spreads: tuple[DepthSpread, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    alpha: float = 0.005
    engine: tuple[Row, ...] = ()
    departures: tuple[str, ...] = ()
    needs: tuple[int, float, int] | None = None
    log_lengths: tuple[float, ...] = ()

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each question that was asked, by group of claims; vacuous: it was not tested.

        A prediction is not a theorem and does not count. The theorem on the whole network is tested when at each depth,
        and each tolerance that was chosen, some width has a bound below 1. Single layers hold only if no event without
        a bound below 1 is the rule rather than the exception. The engine is wrong if one of its exact laws is
        violated; laws of which little was seen do not count against it.
        """
        asked = {group: [row for row in self.theory_rows if row.group == group] for group in GROUPS}
        return {group: self._verdict_on(group, rows) for group, rows in asked.items() if rows or self._asks(group)}

    @property
    def verdict(self) -> Verdict:
        """The verdict on all that was asked: `holds` only if each question was tested and holds."""
        parts = self.verdicts.values()
        return combine([Verdict.UNDECIDED if part is Verdict.VACUOUS else part for part in parts])

    @property
    def theory_rows(self) -> list[Row]:
        """All rows but predictions, those about the engine last."""
        return [row for row in (*self.rows, *self.engine) if row.is_theory]

    @property
    def engine_finding(self) -> str | None:
        """Where the engine departs from an exact law, in a sentence; None where it does not."""
        if not self.departures:
            return None
        first, *more = self.departures
        others = f" {len(more)} more of its rows depart." if more else ""
        return f"The engine departs from the exact law. {first}{others}"

    def _asks(self, group: str) -> bool:
        """Whether a group that has no rows is a question all the same: lemmas and the engine are none."""
        return group not in ("lemmas", "engine") and any(claim in GROUPS[group] for claim in self.config.claims)

    def _verdict_on(self, group: str, rows: list[Row]) -> Verdict:
        tested = [row for row in rows if row.is_tested]
        settled = [row for row in rows if row.is_settled]
        if not tested:
            return Verdict.HOLDS if settled and len(settled) == len(rows) else Verdict.VACUOUS
        if group == "engine":
            return combine([row.verdict for row in tested if row.verdict is not Verdict.UNDECIDED])
        verdict = combine([row.verdict for row in tested])
        missing = self.untested(rows) if group == "network" else group == "one-layer" and self.usual_events
        return Verdict.UNDECIDED if verdict is Verdict.HOLDS and missing else verdict

    def untested(self, rows: Iterable[Row]) -> list[tuple[int, float | None]]:
        """Return pairs (depth, tolerance) at which no width has a bound below 1; tolerance None: at none of them.

        Args:
            rows: about whole networks.
        """
        config = self.config
        chosen_ones: tuple[float | None, ...] = (None,) if config.has_default_epsilons else config.deep_epsilons
        seen = {
            (row.depth, at)
            for row in rows
            if row.is_theory
            for at in (row.epsilon, None)
            if row.is_settled or row.is_tested
        }
        return [pair for pair in product(config.depths, chosen_ones) if pair not in seen]

    @property
    def silent_at(self) -> tuple[int, float, list[int]] | None:
        """The greatest depth and tolerance at which the theorem says nothing at some widths, and these widths."""
        rows = [row for row in self.theory_rows if row.group == "network"]
        config, missing = self.config, self.untested(rows) if rows else []
        if missing:
            depth, epsilon = missing[-1]
            return depth, config.deep_epsilons[-1] if epsilon is None else epsilon, list(config.widths)
        depth = config.depths[-1]
        useful = {row.width for row in rows if row.depth == depth and (row.is_tested or row.is_settled)}
        silent = [width for width in config.widths if width not in useful]
        return (depth, config.deep_epsilons[-1], silent) if rows and silent and depth > 1 else None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims behind the rows, each once: statement, assumptions, proof, function and test."""
        return tuple(dict.fromkeys(behind for row in (*self.rows, *self.engine) for behind in row.claims))

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(row) | {"verdict": str(row.verdict)} for row in (*self.rows, *self.engine)]

    @property
    def usual_events(self) -> int:
        """How many events of single layers without a bound below 1 are seen in most trials."""
        one_layer = [row for row in self.rows if row.group == "one-layer"]
        return sum(row.verdict is Verdict.VACUOUS and row.lower > 0.5 for row in one_layer)

    def to_frame(self) -> pd.DataFrame:
        """The rows as a pandas frame, one column for each field of `Row`."""
        frame = pd.DataFrame(self._records(), columns=[field.name for field in fields(Row)])
        numbers = ["bound", "prediction", "effective_draws", "weighted_estimate", "weighted_lower", "weighted_upper"]
        return frame.astype(dict.fromkeys([*numbers, "margin_lower", "margin_upper"], float))

    def plan(self) -> pd.DataFrame:
        """For each row the trials it had, and how many decide it with probability 0.95 (missing: no number does).

        For a prediction, enough to know the probability to within a factor 2; its margin may need far more.
        """
        columns = ["claim", "width", "depth", "epsilon", "side", "bound_kind", "bound", "method", "trials", "verdict"]
        kinds = [EXACT if row.equal else row.kind for row in self.rows]
        needed = [
            kind.trials_wanted(row.bound, row.prediction, self.alpha)
            for kind, row in zip(kinds, self.rows, strict=True)
        ]
        return self.to_frame()[columns].iloc[: len(needed)].assign(trials_wanted=np.array(needed, dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """{verdict, rows, config, versions}, ready for JSON: None where a number is missing."""
        verdicts = {group: str(verdict) for group, verdict in self.verdicts.items()}
        return {
            "verdict": str(self.verdict),
            "rows": [finite_record(record) for record in self._records()],
            "config": asdict(self.config) | {"notes": list(self.notes), "verdicts": verdicts},
            "versions": self.versions,
        }

    def summary(self) -> str:
        """The findings in a few lines: the practitioner's number, then the verdict on each question."""
        return headline(self)

    def __repr__(self) -> str:
        return f"<VerificationReport {self.config.activation}: {self.verdict}, {len(self.rows)} rows>"
