"""What is wrong with a model, in sentences: which layers, by how much, and what to change."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np

from gpn.probing.ensembles import ZERO_BIAS, drawing_lines, in_brackets
from gpn.probing.judging import Judgement
from gpn.probing.results import KEPT, Finding, Layer, PartRow
from theory.activations import catalog
from theory.activations.specification import Phi
from theory.depth.length_map import length_map, slope_map
from theory.errors import UsageError
from theory.normalization.normalize import normalization

K = TypeVar("K")
WITHIN = 2.0
"""Layers in a row, each within `KEPT`, do not keep norms if together they change one of the two by more than that."""
DEPARTS, NOT_NORMALIZED, NOTE = "departs", "not normalized", "note"
_BIAS = 0.1  # root mean square of a bias, in units of the pre-activation, from which it is named
_DIGITS = 1e-3
_PADDED = 0.02  # share of a patch outside, from which the padding is named


def numbers(layers: Iterable[int]) -> str:
    """Numbers of layers in words.

    >>> numbers([3]), numbers([1, 2, 3, 7])
    ('layer 3', 'layers 1-3, 7')
    """
    ordered = sorted(set(layers))
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in in_a_row(ordered)]
    return f"layer{'s' * (len(ordered) > 1)} {', '.join(parts)}"


def in_a_row(layers: Iterable[int]) -> list[list[int]]:
    """Numbers of layers in lists without gaps, in order.

    >>> in_a_row([5, 1, 2])
    [[1, 2], [5]]
    """
    ordered = enumerate(sorted(set(layers)))
    return [[number for _, number in run] for _, run in groupby(ordered, lambda pair: pair[1] - pair[0])]


def of_layers(layers: Sequence[Layer], library: str) -> Iterator[Finding]:
    """What the layers do to norms by their own theory, and what they are made of.

    Args:
        layers: in the order in which they run.
        library: "PyTorch" or "JAX", for the lines to paste; there are none for another one.
    """
    hidden = [layer for layer in layers if layer.activation is not None]
    for same in _sorted_by(_signature, (layer for layer in hidden if not layer.kept)).values():
        kind, weight = "not normalized", NOT_NORMALIZED
        if same[0].aside:  # what it does to the network is seen in the stream
            kind, weight = "branch", NOTE
        elif _is_kept_at_one(same[0]):  # what is wrong is below it
            kind, weight = "input length", NOT_NORMALIZED if same[0].number == 1 else NOTE
        yield Finding(kind, _numbers(same), _unnormalized(same, library), weight)
    keeping = {layer.number: layer for layer in hidden if layer.kept and not layer.aside}
    for run in in_a_row(keeping):
        yield from _drift([keeping[number] for number in run], library)
    yield from _gains(hidden)
    for same in _sorted_by(lambda layer: layer.map.weights, (layer for layer in hidden if layer.transposed)).values():
        one = same[0].map
        text = (
            f"The weights of {numbers(_numbers(same))} have the scale of the transposed matrix ({one.weights}; "
            f"{one.width_in} to {one.width}): the gain is {one.gain:.4g}; initialize by fan-in, or transpose."
        )
        yield Finding("transposed", _numbers(same), text, NOTE)
    biased = [layer for layer in hidden if layer.map.bias > _BIAS * np.sqrt(max(layer.map.length, 1e-300))]
    if biased:
        size = max(layer.map.bias for layer in biased)
        text = (
            f"The bias of {numbers(_numbers(biased))} is not small (root mean square up to {size:.3g}): the "
            "constants of a normalized activation hold for bias 0."
        )
        yield Finding("bias", _numbers(biased), text, NOTE)
    yield from _ensembles(layers)


def _drift(run: Sequence[Layer], library: str) -> Iterator[Finding]:
    """What layers that each keep norms do together, if that is much."""
    logs = dict(zip(("squared lengths", "squared gradients"), changes_at_infinite_width(run), strict=True))
    much = {what: log for what, log in logs.items() if abs(log) > np.log(WITHIN)}
    if much:
        factors = " and ".join(f"{what} by {np.exp(log):.3g}" for what, log in much.items())
        each = np.exp(max(much.values(), key=abs) / len(run))
        text = (
            f"Each of {numbers(_numbers(run))} keeps norms within {KEPT:.0%}, but by their theory all together change "
            f"{factors} ({each:.3g} per layer), because {_reason(run[len(run) // 2], run, library)}."
        )
        yield Finding("drift", _numbers(run), text.replace("%", " %"), NOT_NORMALIZED)


def changes_at_infinite_width(run: Sequence[Layer]) -> tuple[float, float]:
    r"""Logarithms of the factors of the squared length and of the squared gradient over some layers in a row.

    .. math:: h_l = f_l\, q_{l-1}, \qquad q_l = E\, \phi(\sqrt{h_l}\, z)^2, \qquad
        \log\frac{q_L}{q_0}, \quad \sum_l \log\big(\beta_l\, E\, \phi'(\sqrt{h_l}\, z)^2\big)

    with the factors f and :math:`\beta` of the maps. Lengths are those of infinite width, from what arrives at the
    first layer on: the fluctuations of a network of finite width are no fault of its layers.
    """
    start = length = run[0].map.length_in
    gradient = 0.0
    for layer in run:
        scale = length * layer.map.forward_factor
        if layer.phi is None or not (np.isfinite(scale) and scale > 0):
            return float("nan"), float("nan")
        length = length_map(layer.phi, scale).value
        with np.errstate(all="ignore"):
            gradient += float(np.log(slope_map(layer.phi, scale).value * layer.map.backward_factor))
    return float(np.log(length / start)) if length > 0 else float("nan"), gradient


def _gains(hidden: Sequence[Layer]) -> Iterator[Finding]:
    odd = [layer for layer in hidden if abs(layer.map.gain - 1) > _gain_noise(layer.map)]
    if odd:
        low, high = (f"{end(layer.map.gain for layer in odd):.3g}" for end in (min, max))
        size = low if low == high else f"between {low} and {high}"
        yield Finding("gain", _numbers(odd), f"The gain of {numbers(_numbers(odd))} is {size}, not 1.", NOTE)


def _gain_noise(row: PartRow) -> float:
    """The gain of independent entries fluctuates by 1/sqrt(2 n_in n_out)."""
    return 0.02 + 3 / float(np.sqrt(row.width * row.width_in))


def _is_kept_at_one(layer: Layer) -> bool:
    """Whether the layer would keep norms if lengths were 1: then what arrives is to blame."""
    if layer.phi is None or layer.map.bias > _BIAS or abs(layer.map.gain - 1) > _gain_noise(layer.map):
        return False
    moments = (length_map(layer.phi, 1.0).value, slope_map(layer.phi, 1.0).value)
    return all(abs(moment - 1) < KEPT for moment in moments)


def _ensembles(layers: Sequence[Layer]) -> Iterator[Finding]:
    """Weights that are not Haar: the theorem is about Haar ones."""
    for kind, same in _sorted_by(_ensemble_kind, layers).items():
        if kind == "":
            continue
        labels = _sorted_by(lambda layer: layer.map.weights, same)
        named = [f"{numbers(_numbers(some))} {label}" for label, some in labels.items()]
        shown = "; ".join([*named[:_MOST_LABELS], *["..."] * (len(named) > _MOST_LABELS)])
        yield Finding(kind, _numbers(same), f"{_ENSEMBLES[kind]} ({shown}).", NOTE)


_MOST_LABELS = 4
_ENSEMBLES = {
    "not orthogonal": "Weights are not orthogonal, so that norms are kept on average only, and fluctuate more",
    "not Haar": "Weights are orthogonal but not Haar, for which there is neither theorem nor band",
    "no known ensemble": "Weights are of no known ensemble, and the laws are those of their singular values",
}


def _ensemble_kind(layer: Layer) -> str:
    """The kind of a finding; empty for Haar and semi-orthogonal weights."""
    label = layer.map.weights
    if label.startswith(("Gaussian", "uniform", "truncated", "independent")):
        return "not orthogonal"
    if "not Haar" in label:
        return "not Haar"
    return "" if label.startswith(("Haar", "semi-orthogonal")) else "no known ensemble"


def _unnormalized(layers: Sequence[Layer], library: str) -> str:
    """Why some equal layers change norms, and what to change."""
    one = layers[len(layers) // 2]
    backward = [layer.backward for layer in layers if np.isfinite(layer.backward)]
    forward = [layer.forward for layer in layers if np.isfinite(layer.forward)]
    each = " per layer" if len(layers) > 1 else ""
    changes = []
    if backward and min(backward) == 0:
        changes.append("squared gradients vanish")
    elif backward and max(abs(np.log(backward))) > KEPT:
        changes.append(f"squared gradients change by {_mean(backward):.3g}{each}")
    if forward and max(abs(np.log(np.maximum(forward, 1e-300)))) > KEPT:
        changes.append(f"squared lengths by {_mean(forward):.3g}")
        if len(changes) == 1:
            changes[0] = f"squared lengths change by {_mean(forward):.3g}{each}"
    where = numbers(_numbers(layers))
    if one.aside:
        where = f"the branches of {where}, taken alone,"
    return f"In {where} {' and '.join(changes)}, because {_reason(one, layers, library)}."


def of_stream(blocks: int, length: float, gradient: float) -> Finding:
    """What residual sums do to all that passes them, as it was measured.

    Args:
        blocks: how many sums x + f(x).
        length, gradient: the factor of the squared length per entry, forward, and of the squared gradient, backward,
            from one block to the next, geometric means over blocks.

    >>> of_stream(4, 1.05, 1.2).text
    'Along the residual stream squared lengths change by 1.05, squared gradients by 1.2 per block (4 blocks, measured).'
    """
    known = [value for value in (length, gradient) if np.isfinite(value) and value > 0]
    words = [f"squared lengths change by {length:.3g}"] if np.isfinite(length) else []
    if np.isfinite(gradient):
        words.append(f"squared gradients {'by' if words else 'change by'} {gradient:.3g}")
    many = f"{blocks} block{'s' * (blocks > 1)}"
    text = f"Along the residual stream {', '.join(words)} per block ({many}, measured)."
    lost = any(abs(np.log(value)) > KEPT or abs(np.log(value)) * blocks > 2 * np.log(WITHIN) for value in known)
    return Finding("stream", (), text, NOT_NORMALIZED if lost else NOTE)


def _reason(layer: Layer, layers: Sequence[Layer], library: str) -> str:
    phi, gain = layer.phi, layer.map.gain
    assert phi is not None  # hidden layers have one
    if layer.map.kind == "convolution" and not layer.map.bias and layer.map.forward_factor < (1 - _PADDED) * gain**2:
        inside = layer.map.forward_factor / gain**2
        return f"of each patch the share {inside:.2g} of the squared length lies inside, the rest is padded with zeros"
    try:
        second, slope = length_map(phi, 1.0).value, slope_map(phi, 1.0).value
        constants = f"E phi^2 = {second:.4g} and E phi'^2 = {slope:.4g}"
        if abs(second - 1) < _DIGITS and abs(slope - 1) < _DIGITS:
            return _outside(layer, phi, library)
        chosen = normalization(phi)
    except UsageError:
        return f"{phi.name} with gain {gain:.4g} cannot be normalized, as far as gpn knows"
    remedy = "" if layer.aside else f": {_remedy(phi.name, chosen.a, chosen.b, layers, library)}"
    return f"{phi.name} with gain {gain:.4g} has {constants} at length 1{_at_arrival(layer, phi)}{remedy}"


def _at_arrival(layer: Layer, phi: Phi) -> str:
    """The constants at the length that the layer has, where that is not 1."""
    q = layer.map.length
    if not (np.isfinite(q) and q > 0) or abs(np.log(q)) <= KEPT:
        return ""
    second, slope = length_map(phi, q).value / q, slope_map(phi, q).value
    return f" (at the length q = {q:.3g} of layer {layer.number}: E phi^2/q = {second:.4g}, E phi'^2 = {slope:.4g})"


def _remedy(name: str, a: float, b: float, layers: Sequence[Layer], library: str) -> str:
    """What to change: scale and shift, or the gain alone, which keeps gradients only; with what to paste."""
    gain = float(f"{float(a):.5g}")
    if abs(b) < 1e-9:
        return f"use gain {gain:.5g}{in_brackets(_lines(layers, library, gain))}"
    lines = _lines(layers, library)
    if abs(a - 1) < _DIGITS:
        return f"add {float(b):.4g} to it, with gain 1{in_brackets(lines)}"
    target = {"PyTorch": "torch", "JAX": "jax"}.get(library, "numpy")
    code = f"gpn normalize {name} --emit {target}" if name in catalog.names() else "gpn.export has the code"
    return (
        f"multiply {name} by {float(a):.4g} and add {float(b):.4g} with gain 1{in_brackets([code, *lines])}, or use "
        f"gain {gain:.5g}, which keeps gradients at length 1"
    )


def _lines(layers: Sequence[Layer], library: str, gain: float = 1.0) -> list[str]:
    """What to paste for orthogonal weights of a gain and for bias 0, where layers have something else."""
    maps = [layer.map for layer in layers]
    is_right = all(abs(row.gain - gain) <= _gain_noise(row) for row in maps) and not any(map(_ensemble_kind, layers))
    zero = [ZERO_BIAS[library]] if library in ZERO_BIAS and any(row.bias > 0 for row in maps) else []
    return zero if is_right else [*drawing_lines(maps, library, gain), *zero]


def _outside(layer: Layer, phi: Phi, library: str) -> str:
    """The activation is normalized; what is not is the gain, the bias or the length of what arrives."""
    reasons = []
    if abs(layer.map.gain - 1) > 0.02:
        lines = [f"{line} makes it 1" for line in drawing_lines([layer.map], library)]
        reasons.append(f"the gain is {layer.map.gain:.4g}, not 1{in_brackets(lines)}")
    if layer.map.bias > _BIAS * np.sqrt(max(layer.map.length, 1e-300)):
        zero = [f"{ZERO_BIAS[library]} makes it 0"] if library in ZERO_BIAS else []
        reasons.append(f"the bias has root mean square {layer.map.bias:.3g}{in_brackets(zero)}")
    if not reasons and abs(np.log(max(layer.map.length_in, 1e-300))) > KEPT:
        reasons.append(f"its input has squared length per neuron {layer.map.length_in:.4g}, not 1")
    return f"{phi.name} is normalized, but " + (" and ".join(reasons) or "its pre-activations have not length 1")


def _signature(layer: Layer) -> tuple[object, ...]:
    phi = "" if layer.phi is None else layer.phi.name
    digits = 2 if layer.map.weights.startswith(("Haar", "semi")) else 1  # that of independent entries fluctuates
    shift = layer.map.bias if layer.map.bias > _BIAS else 0.0
    kind = layer.map.weights.split(",")[0], f"{layer.map.gain:.{digits}f}", f"{shift:.1f}"
    return layer.aside, phi, *kind, _is_kept_at_one(layer)


def _sorted_by(key: Callable[[Layer], K], layers: Iterable[Layer]) -> dict[K, list[Layer]]:
    """Layers by a key, in the order of the first of each."""
    order: dict[K, list[Layer]] = {}
    for layer in layers:
        order.setdefault(key(layer), []).append(layer)
    return order


def _numbers(layers: Iterable[Layer]) -> tuple[int, ...]:
    return tuple(layer.number for layer in layers)


def _mean(values: Sequence[float]) -> float:
    """The geometric mean, whose power is what all layers do together."""
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-300)))))


def of_rows(rows: Sequence[PartRow], allowed: float) -> Iterator[Finding]:
    """Departures from the laws, values that are not finite, and coarse types.

    Args:
        rows: all parts.
        allowed: the probability below which a comparison counts as a departure.
    """
    broken = [row for row in rows if row.nonfinite]
    if broken:
        first = broken[0]
        text = f"Values are infinite or no numbers from {_place(first)} on ({first.nonfinite} entries there)."
        yield Finding("not finite", (first.layer,), text, DEPARTS)
    vanished = [row for row in rows if row.gradient == 0]
    if vanished:
        text = f"No gradient arrives at {_place(vanished[-1])}: |dE/dh| = 0."
        yield Finding("no gradient", (vanished[-1].layer,), text, DEPARTS)
    cut = [row.layer for row in rows if row.kind in ("linear", "convolution") and np.isnan(row.gradient)]
    if cut and not broken:
        text = f"The output has no gradient at {numbers(cut)}: detached, under no_grad, or not on the way to it."
        yield Finding("no gradient", tuple(cut), text, NOTE)
    unknown = sorted({row.label for row in rows if row.kind in ("other", "normalization")})
    if unknown:
        yield Finding("no theory", (), f"Without a law, and only measured (--source): {_some(unknown)}.", NOTE)
    for row in rows:
        for side, judgement in (("forward", row.forward), ("backward", row.backward)):
            if judgement is not None and judgement.probability < allowed:
                ratio = judgement.measured / judgement.predicted
                text = (
                    f"{_place(row)} departs from its theory {side}: the squared norm is {ratio:.4g} times what follows "
                    f"from its weights and its activation (band {judgement.lower / judgement.predicted:.4g} to "
                    f"{judgement.upper / judgement.predicted:.4g})."
                )
                yield Finding("departs", (row.layer,), text[0].upper() + text[1:], DEPARTS)
    coarse = sorted({row.dtype for row in rows if row.dtype in ("float16", "bfloat16")})
    if coarse:
        layers = tuple(sorted({row.layer for row in rows if row.dtype in coarse}))
        unit = 2.0**-7 if "bfloat16" in coarse else 2.0**-10
        text = (
            f"The model computes in {' and '.join(coarse)}, whose numbers are {unit:.2g} apart at 1: the bands "
            "are wider by four times as much, and smaller departures are not seen."
        )
        yield Finding("precision", layers, text, NOTE)
    dropped = [row for row in rows if row.kind == "dropout"]
    if dropped:
        factor = max(row.forward_factor for row in dropped)
        where = _some([row.name or "the model" for row in dropped])
        text = f"Dropout is on in {where}: it multiplies squared norms by up to {factor:.4g}."
        yield Finding("dropout", (), text, NOT_NORMALIZED if factor > 1 + KEPT else NOTE)


def of_sums(sums: Sequence[Judgement | None], allowed: float) -> Iterator[Finding]:
    """What all steps that follow, each by itself, miss together.

    Args:
        sums: forward and backward; None where too few steps fluctuate.
        allowed: the probability below which a comparison counts as a departure.

    >>> [found.text[:66] for found in of_sums([None, Judgement(1.1, 1.0, 0.97, 1.03, 1e-9)], 0.01)]
    ['All steps together depart from their theory backward: squared norm']
    """
    for side, judgement in zip(("forward", "backward"), sums, strict=True):
        if judgement is not None and judgement.probability < allowed:
            text = (
                f"All steps together depart from their theory {side}: squared norms are {judgement.measured:.4g} times "
                "what follows from weights and activation, in the mean over the steps that follow one by one (band "
                f"{judgement.lower:.4g} to {judgement.upper:.4g})."
            )
            yield Finding("departs", (), text, DEPARTS)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LABELS]) + f" and {len(names) - _MOST_LABELS} more" * (len(names) > _MOST_LABELS)


def _place(row: PartRow) -> str:
    name = f" ({row.name})" if row.name else ""
    return f"layer {row.layer}, {row.label}{name}" if row.layer else f"{row.label}{name}"


def of_keys(keys: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Weights that should be independent and are not.

    Args:
        keys: for each initialization the keys of the matrices of all layers.
    """
    for _, group in groupby(sorted(range(len(keys[0])), key=lambda index: keys[0][index]), lambda i: keys[0][i]):
        same = [index + 1 for index in group]
        if len(same) > 1:
            text = (
                f"The weights of {numbers(same)} are the same matrix, or its transpose: draw them independently (one "
                "random stream, not one seed for each)."
            )
            yield Finding("equal weights", tuple(same), text, NOTE)
    if len(keys) > 1:
        fixed = [index + 1 for index in range(len(keys[0])) if len({row[index] for row in keys}) == 1]
        if fixed and len(fixed) < len(keys[0]):
            text = f"The weights of {numbers(fixed)} are the same in every initialization."
            yield Finding("fixed weights", tuple(fixed), text, NOTE)
