"""`gpn.probe`: a model of PyTorch or JAX, layer by layer, beside the prediction."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from itertools import zip_longest
from typing import Any

import numpy as np

from gpn.engine.arguments import count
from gpn.experiment.runs import generator
from gpn.experiment.streams import PROBE
from gpn.probing import findings
from gpn.probing.ensembles import Ensemble, ensemble_of
from gpn.probing.judging import Judgement, Step, judge, steps_of, together
from gpn.probing.models import Source, source_of
from gpn.probing.recognition import Recognizer, Unit, branches
from gpn.probing.results import Answer, Finding, Layer, PartRow, ProbeReport
from gpn.probing.tape import Tape
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

INITIALIZATIONS = 5
_STREAM = ("activation", "scale", "normalization", "dropout")
_ORDER = {findings.DEPARTS: 0, findings.NOT_NORMALIZED: 1, findings.NOTE: 2}


@one_blas_thread
def probe(
    model: Any,
    inputs: Any = None,
    *,
    initializations: int = INITIALIZATIONS,
    layers: str = "*",
    seed: int = 0,
    level: float = 0.99,
    progress: Callable[[float, float, str], None] | None = None,
) -> ProbeReport:
    r"""Measure a PyTorch or JAX model, as it is, in every layer, and say where it leaves the theory and what to change.

    .. math:: \frac{|h_l|^2}{n}, \quad \frac{|x_l|^2}{n}, \quad \Big|\frac{\partial E}{\partial h_l}\Big|, \quad
        \Big|\frac{\partial E}{\partial W_l}\Big|_F, \qquad E = \sum_i \langle e_i, y_i \rangle

    with a random unit vector e_i for each input i. Each step (a linear map, an activation, a sum) is compared with its
    law given what arrives: that of its own weights, activation and bias. Derivation: docs/own-network.md.

    Args:
        model: a factory, called again for each initialization (with a seed, if it takes one argument), that returns a
            `torch.nn.Module` or, for JAX, a pair (function, params) with y = function(params, x); or such a thing
            itself, or the class of a module. A module that is given itself is drawn again by its own
            `reset_parameters`; without one there is one initialization.
        inputs: array or tensor (samples, ...); None for random ones of length |x|^2 = n, if the first layer tells n.
        initializations: how many, at least 1.
        layers: a pattern of names, as "encoder.*": parts of other modules are not judged and not listed.
        seed: of the initializations, inputs and directions e_i.
        level: of all comparisons together.
        progress: called with initializations done, of how many, and words.

    Raises:
        UsageError: what is given is no model, the model fails on the inputs, or an argument is out of range.
    """
    initializations = count("initializations", initializations)
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, not {level}; try 0.99")
    source = source_of(model, seed)
    total = initializations if source.fresh else 1
    tapes, recognizer = [], Recognizer()
    for index in range(total):
        if progress is not None:
            progress(index, total, "initializations")
        tapes.append(source.tape(index, inputs, generator(seed, PROBE, 0, index)))
    broken = tapes[0].values[0].nonfinite
    if broken:
        raise UsageError(f"the inputs hold {broken} values that are infinite or no numbers; probe needs finite ones")
    units = [recognizer.units(tape) for tape in tapes]
    _check_same(units)
    keys = [
        [unit.operation.weights.key for unit in found if unit.operation and unit.operation.weights] for found in units
    ]
    if len(tapes) > 1 and keys[0] and all(row == keys[0] for row in keys):
        source.note_fixed()
        tapes, units, keys = tapes[:1], units[:1], keys[:1]
    return _Reading(source, tapes, units, keys, layers, level).report()


def _check_same(units: Sequence[Sequence[Unit]]) -> None:
    shapes = [[(unit.kind, unit.name) for unit in found] for found in units]
    if any(shape != shapes[0] for shape in shapes):
        raise UsageError("the initializations do not run the same operations; probe a model without random branches")


class _Reading:
    """From tapes to a report."""

    def __init__(
        self,
        source: Source,
        tapes: Sequence[Tape],
        units: Sequence[Sequence[Unit]],
        keys: Sequence[Sequence[int]],
        pattern: str,
        level: float,
    ) -> None:
        self.source, self.tapes, self.units, self.keys, self.level = source, tapes, units, keys, level
        self.epsilon = max(tape.epsilon for tape in tapes)
        self.numbers: dict[int, int] = {}
        for unit in units[0]:
            if unit.kind in ("linear", "convolution"):
                self.numbers[unit.output] = 1 + sum(key >= 0 for key in self.numbers)
            elif unit.inputs and unit.inputs[0] in self.numbers and unit.kind in ("activation", "scale"):
                self.numbers.setdefault(-unit.output, self.numbers[unit.inputs[0]])
        self.blocks, self.aside = branches(units[0])
        self.chosen = [place for place, unit in enumerate(units[0]) if fnmatch(unit.name, pattern)]
        if not self.chosen:
            names = ", ".join(sorted({unit.name for unit in units[0]}))
            if not names:
                raise UsageError("the model does nothing with its inputs that has a gradient")
            raise UsageError(f"no module runs under a name like {pattern!r}; there are {names[:200]}")

    def report(self) -> ProbeReport:
        steps = {place: self._steps(place) for place in self.chosen}
        count = sum(1 for sides in steps.values() for side in sides if _is_judged(side))
        allowed = (1 - self.level) / (count + 2)  # two for the sums over all steps, forward and backward
        rows = [self._row(place, steps[place], allowed) for place in self.chosen]
        layers = self._layers(rows)
        following = {
            place: steps[place] for place, row in zip(self.chosen, rows, strict=True) if row.follows is Answer.YES
        }
        sums = tuple(
            self._together([(place, sides[way]) for place, sides in following.items()], allowed) for way in (0, 1)
        )
        found = [*findings.of_rows(rows, allowed), *findings.of_sums(sums, allowed)]
        found += [*findings.of_layers(layers, self.tapes[0].library), *self._of_stream(), *self._of_keys()]
        found.sort(key=lambda finding: _ORDER[finding.weight])
        weights = {finding.weight for finding in found}
        follows = Answer.NO if findings.DEPARTS in weights else Answer.YES if count else Answer.UNDECIDED
        known = [layer for layer in layers if layer.known and not layer.aside]
        stream = self.blocks and all(unit.kind != "other" or unit.output in self.aside for unit in self.units[0])
        normalized = Answer.YES if known or stream else Answer.UNDECIDED
        if findings.NOT_NORMALIZED in weights:
            normalized = Answer.NO
        samples = len(self.tapes[0].values[0].gradient)
        return ProbeReport(
            self.source.name,
            self.tapes[0].library,
            len(self.tapes),
            self.source.how,
            samples,
            self.level,
            count,
            tuple(rows),
            sums,
            tuple(found),
            follows,
            normalized,
        )

    def _together(self, steps: Sequence[tuple[int, list[Step]]], allowed: float) -> Judgement | None:
        """The sum over all steps that follow; none where matrices are shared, since then the steps depend."""
        if any(len(set(keys)) < len(keys) for keys in self.keys):
            return None
        sides = []
        for place, side in steps:
            unit = self.units[0][place]
            if unit.kind in ("linear", "convolution", "activation"):
                source = next((u for u in self.units[0] if u.output == unit.inputs[0]), unit)
                biased = any(
                    u.operation is not None and u.operation.bias is not None and np.any(u.operation.bias)
                    for u in (unit, source)
                )
                sides.append((side, self.tapes[0].values[unit.output].size, biased))
        return together(sides, self.epsilon, allowed)

    def _of_keys(self) -> list[Finding]:
        if not self.keys[0]:
            return []
        return list(findings.of_keys(self.keys))

    def _of_stream(self) -> list[Finding]:
        """Residual sums from the input of each to that of the next, where only a normalization lies between."""
        blocks = [block for block in self.blocks if block.place in self.chosen]
        factors = []
        for block, after in zip_longest(blocks, blocks[1:]):
            to = after if after is not None and self._passes(block.end, after.start) else None
            for tape, units in zip(self.tapes, self.units, strict=True):
                start = tape.values[self._same(block.start, units)]
                end = tape.values[self._same(block.end if to is None else to.start, units)]
                with np.errstate(all="ignore"):
                    gradient = start.gradient.mean() / end.gradient.mean()
                    factors.append([end.lengths.mean() / start.lengths.mean(), gradient])
        if not factors:
            return []
        with np.errstate(all="ignore"):
            length, gradient = np.exp(np.log(factors).mean(axis=0)).tolist()
        return [findings.of_stream(len(blocks), length, gradient)] if np.isfinite([length, gradient]).any() else []

    def _same(self, value: int, units: Sequence[Unit]) -> int:
        """A value of the first initialization in another one."""
        places = (place for place, unit in enumerate(self.units[0]) if unit.output == value)
        place = next(places, None)
        return value if place is None else units[place].output

    def _passes(self, value: int, on: int) -> bool:
        """Whether a value is another one after activations, normalizations and dropout, or itself."""
        makers = {unit.output: unit for unit in self.units[0]}
        while on != value and on in makers and makers[on].kind in _STREAM:
            on = makers[on].inputs[0]
        return on == value

    def _steps(self, place: int) -> tuple[list[Step], list[Step]]:
        forward: list[Step] = []
        backward: list[Step] = []
        for tape, units in zip(self.tapes, self.units, strict=True):
            sides = steps_of(tape, units[place], {unit.output: unit for unit in units})
            for side, kept in zip(sides, (forward, backward), strict=True):
                if side is not None:
                    kept.append(side)
        return forward, backward

    def _row(self, place: int, steps: tuple[list[Step], list[Step]], allowed: float) -> PartRow:
        unit = self.units[0][place]
        made = [
            (tape.values[units[place].inputs[0]], tape.values[units[place].output], units[place])
            for tape, units in zip(self.tapes, self.units, strict=True)
        ]
        before, after, _ = made[0]
        forward, backward = (judge(side, self.epsilon, allowed) if side else None for side in steps)
        ensemble = self._ensemble(place)
        weights = None if unit.operation is None else unit.operation.weights
        biases = [u.operation.bias for _, _, u in made if u.operation is not None and u.operation.bias is not None]
        with np.errstate(all="ignore"):
            return PartRow(
                layer=self.numbers.get(unit.output, self.numbers.get(-unit.output, 0)),
                kind=unit.kind,
                name=unit.name,
                label=unit.label,
                width_in=before.size if weights is None else weights.columns,
                width=after.size,
                rows=after.rows,
                weights="" if ensemble is None else ensemble.label,
                gain=float("nan") if ensemble is None else _mean_gain(made),
                bias=float(np.sqrt(np.mean([np.mean(bias**2) for bias in biases]))) if biases else 0.0,
                length_in=float(np.mean([x.lengths.mean() for x, _, _ in made])),
                length=float(np.mean([y.lengths.mean() for _, y, _ in made])),
                gradient=float(np.mean([y.gradient.mean() for _, y, _ in made])),
                weight_gradient=float(
                    np.mean([float("nan") if u.operation is None else u.operation.weight_gradient for _, _, u in made])
                ),
                correlation=float(np.mean([y.correlation for _, y, _ in made])),
                nonfinite=sum(y.nonfinite for _, y, _ in made),
                dtype=after.dtype,
                forward=forward,
                backward=backward,
                **_factors(unit, made, steps),
                follows=_follows((forward, backward), allowed),
            )

    def _ensemble(self, place: int) -> Ensemble | None:
        operations = [units[place].operation for units in self.units]
        drawn = [
            operation.weights for operation in operations if operation is not None and operation.weights is not None
        ]
        if not drawn:
            return None
        return ensemble_of(drawn[0], self.tapes[0].values[self.units[0][place].output].dtype, drawn[1:])

    def _layers(self, rows: Sequence[PartRow]) -> list[Layer]:
        """Each map with its activation."""
        units = {self.units[0][place].output: self.units[0][place] for place in self.chosen}
        places = dict(zip(units, self.chosen, strict=True))
        by_output = dict(zip(units, rows, strict=True))
        layers = []
        for output, unit in units.items():
            if unit.kind not in ("linear", "convolution"):
                continue
            after = next((u for u in units.values() if u.kind == "activation" and u.inputs[0] == output), None)
            ensemble = self._ensemble(places[output])
            layers.append(
                Layer(
                    by_output[output],
                    by_output[after.output] if after else None,
                    after.phi if after else None,
                    ensemble is not None and ensemble.transposed,
                    output in self.aside,
                )
            )
        return layers


def _mean_gain(made: Sequence[Any]) -> float:
    return float(np.sqrt(np.mean([unit.operation.weights.gain**2 for _, _, unit in made])))


def _is_judged(side: Sequence[Step]) -> bool:
    return any(
        np.isfinite(step.law.mean).all() and (step.law.mean > 0).all() and np.isfinite(step.measured).all()
        for step in side
    )


def _follows(sides: Sequence[Judgement | None], allowed: float) -> Answer:
    known = [side.probability for side in sides if side is not None and side.probability == side.probability]
    if not known:
        return Answer.UNDECIDED
    return Answer.NO if min(known) < allowed else Answer.YES


def _factors(unit: Unit, made: Sequence[Any], steps: tuple[list[Step], list[Step]]) -> dict[str, float]:
    """By which a part multiplies squared lengths per entry and squared gradients, after its own theory."""
    forward = backward = float("nan")
    if unit.kind == "dropout" and unit.operation is not None:
        forward = backward = 1 / (1 - unit.operation.rate)
    if steps[0]:
        pairs = zip(steps[0], made, strict=False)
        ratios = [step.law.mean / (y.size * y.rows) / x.lengths.mean(axis=1) for step, (x, y, _) in pairs]
        forward = float(np.mean(ratios))
    if steps[1]:
        if unit.kind == "activation":
            backward = float(np.mean([step.law.mean for step in steps[1]]))
        else:
            backward = float(
                np.mean([step.law.mean / y.gradient for step, (_, y, _) in zip(steps[1], made, strict=False)])
            )
    return {"forward_factor": forward, "backward_factor": backward}
