"""Errors that are made on purpose in the engine, to see which of them `gpn verify` detects.

Each is a context: inside it the engine is wrong. The table is in docs/power.md, `benchmarks/power.py` makes it, and the
tests of `gpn.verification.engine` use the same list.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any
from unittest import mock

import numpy as np

from gpn.engine import weights
from gpn.engine.network import Network
from gpn.sampling import batch_sampler, laws, passes, sampler

Patch = tuple[Any, str, Any]
"""An owner, the name of an attribute, and what stands there instead."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One error.

    Args:
        words: what is wrong.
        patches: where.
        options: of `gpn.verify`, for an error in what only they use.
    """

    words: str
    patches: Callable[[], list[Patch]]
    options: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the error for as long as the context lasts."""
        with ExitStack() as stack:
            for owner, name, new in self.patches():
                stack.enter_context(mock.patch.object(owner, name, new))
            yield


class _Wrong:
    """phi and phi' by factors."""

    def __init__(self, inner: Any, value: float = 1.0, slope: float = 1.0) -> None:
        self.inner, self.value, self.slope = inner, value, slope

    def value_into(self, h: Any, out: Any) -> None:
        self.inner.value_into(h, out)
        out *= self.value

    def value_and_slope_into(self, h: Any, value: Any, slope: Any) -> None:
        self.inner.value_and_slope_into(h, value, slope)
        value *= self.value
        slope *= self.slope


class _Single(_Wrong):
    """phi and phi' in 32 bits."""

    def value_into(self, h: Any, out: Any) -> None:
        self.inner.value_into(h, out)
        out[...] = out.astype(np.float32)

    def value_and_slope_into(self, h: Any, value: Any, slope: Any) -> None:
        self.inner.value_and_slope_into(h, value, slope)
        value[...], slope[...] = value.astype(np.float32), slope.astype(np.float32)


def activation(
    value: float = 1.0, slope: float = 1.0, layer: int | None = None, kind: type[_Wrong] = _Wrong
) -> list[Patch]:
    """phi and phi' of deep networks by factors, in all layers or in one, forward and backward alike."""

    def wrong(number: int, phi: Any) -> Any:
        return kind(phi, value, slope) if layer in (None, number) else phi

    return _activations(wrong)


def _activations(wrong: Callable[[int, Any], Any]) -> list[Patch]:
    """Other activations of deep networks; `wrong` takes the number of the layer, from 0, and phi."""

    def wrapped(function: Any, network: Any, *rest: Any) -> Any:
        layers = [replace(law, activation=wrong(i, law.activation)) for i, law in enumerate(network.layers)]
        return function(replace(network, layers=layers), *rest)

    return [(passes, name, partial(wrapped, getattr(passes, name))) for name in ("forward", "backward")]


def matrices(factor: float) -> list[Patch]:
    """Weights by a factor."""
    forward, backward = laws.Haar.stretch, laws.Haar.transposed

    def transposed(self: laws.Haar, *given: Any) -> Any:
        coefficient, share = backward(self, *given)
        return coefficient, share * factor

    return [
        (laws.Haar, "stretch", lambda self, *given: factor * forward(self, *given)),
        (laws.Haar, "transposed", transposed),
    ]


def explicit_matrices(change: Callable[[Any], Any]) -> list[Patch]:
    """Explicit Haar matrices, changed."""
    drawn = dict(weights.ENSEMBLES)
    haar = drawn["haar"]
    return [(weights, "ENSEMBLES", MappingProxyType(drawn | {"haar": lambda *given: change(haar(*given))}))]


def ensemble(name: str) -> list[Patch]:
    """Another ensemble in the place of explicit Haar matrices."""
    return [(weights, "ENSEMBLES", MappingProxyType(dict(weights.ENSEMBLES) | {"haar": weights.ENSEMBLES[name]}))]


def gaussian() -> list[Patch]:
    """Gaussian in the place of Haar weights."""
    return [(sampler, "law", lambda _, rows, columns: laws.law("gaussian", rows, columns))]


def drawn(change: Callable[[passes.Drawn], passes.Drawn]) -> list[Patch]:
    """W^T d, changed after it was drawn."""
    draw = passes.Transposed.draw
    return [(passes.Transposed, "draw", lambda self, tiles, rng: change(draw(self, tiles, rng)))]


def _independent(found: passes.Drawn) -> passes.Drawn:
    squares = passes.total([(tile.e**2).sum(axis=1) for tile in found.tiles])
    return passes.Drawn(found.tiles, 1 / np.sqrt(squares))


def no_projection() -> list[Patch]:
    """The normals are not projected across x."""
    backward = laws.Haar.transposed

    def transposed(self: laws.Haar, along: Any, overlap: Any, squares: Any) -> Any:
        coefficient, share = backward(self, along, overlap, squares)
        return coefficient + overlap, share

    return [(laws.Haar, "transposed", transposed)]


def norms(change: Callable[[Any, Any], Any]) -> list[Patch]:
    """What a sample makes of |x_l| and log |d_l|."""
    of_norms = sampler.Sample.of_norms.__func__  # type: ignore[attr-defined]
    wrong = classmethod(
        lambda cls, width, signals, logs, *rest: change(signals, of_norms(cls, width, signals, logs, *rest))
    )
    return [(sampler.Sample, "of_norms", wrong)]


def _without_signals(signals: Any, sample: Any) -> Any:
    return replace(sample, log_gradient_norms=sample.log_gradient_norms - np.log(signals[:, :-1]))


def _without_factor(_signals: Any, sample: Any) -> Any:
    """One factor |d|/|e| is left out of all layers below."""
    logs = sample.log_gradient_norms
    factor = logs[:, 1:2] - logs[:, 2:3]
    return replace(sample, log_gradient_norms=np.concatenate([logs[:, :1] - factor, logs[:, 1:]], axis=1))


def same_normals() -> list[Patch]:
    """Every layer draws its backward direction from the same numbers."""
    draw = passes.Transposed.draw
    return [(passes.Transposed, "draw", lambda self, tiles, _: draw(self, tiles, np.random.default_rng(0)))]


def transposed_backward() -> list[Patch]:
    """Explicit networks go down by W in the place of W^T."""

    def sweep(self: Network, forward: Any, gradients: Any) -> Any:
        square = all(matrix.shape[0] == matrix.shape[1] for matrix in self.weights)
        kept = self.weights
        if square:
            self.weights = tuple(matrix.T for matrix in kept)
        yield from honest(self, forward, gradients)
        self.weights = kept

    honest = Network.sweep
    return [(Network, "sweep", sweep)]


def one_matrix() -> list[Patch]:
    """Explicit networks use one matrix in all layers."""
    random = Network.random.__func__  # type: ignore[attr-defined]

    def repeated(cls: Any, widths: Any, *given: Any, **options: Any) -> Any:
        network = random(cls, widths, *given, **options)
        network.weights = tuple(network.weights[-1] for _ in network.weights)
        return network

    return [(Network, "random", classmethod(repeated))]


def longer_input(factor: float) -> list[Patch]:
    """Inputs off the thin shell."""
    forward = passes.forward

    def up(network: Any, layers: Any, norms: Any, *rest: Any) -> Any:
        norms[0] *= factor
        return forward(network, layers, norms, *rest)

    return [(passes, "forward", up)]


def no_shift() -> list[Patch]:
    """The shift b of the normalized activation is left out of deep networks."""

    class Unshifted(_Wrong):
        def value_into(self, h: Any, out: Any) -> None:
            self.inner.value_into(h, out)
            out -= float(self.inner.value(np.zeros(1))[0])

        def value_and_slope_into(self, h: Any, value: Any, slope: Any) -> None:
            self.inner.value_and_slope_into(h, value, slope)
            value -= float(self.inner.value(np.zeros(1))[0])

    return _activations(lambda _, phi: Unshifted(phi))


def orthogonal_inputs() -> list[Patch]:
    """In every layer the inputs of a batch go forward as if they were orthogonal to each other."""
    forward = batch_sampler._Haar.forward

    def apart(self: Any, coordinates: Any, width: int, rng: Any) -> Any:
        lengths = np.linalg.norm(coordinates, axis=-1)
        return forward(self, lengths[..., None] * np.eye(*coordinates.shape[1:]), width, rng)

    return [(batch_sampler._Haar, "forward", apart)]


def orthogonal_gradients() -> list[Patch]:
    """Across the signals, the gradients of a batch go down as if they were orthogonal to each other."""

    def alone(d: Any) -> Any:
        return np.linalg.norm(d, axis=-1)[..., None] * np.eye(d.shape[-2], min(d.shape[-2:]))

    return [(batch_sampler, "coordinates_alone", alone)]


MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        "no-along": Mutation(
            "W^T d without its component along x", lambda: drawn(lambda found: found._replace(along=None))
        ),
        "independent": Mutation("W^T d independent of everything", lambda: drawn(_independent)),
        "no-projection": Mutation("W^T d whose random part is not projected across x", no_projection),
        "same-normals": Mutation("the same random part of W^T d in every layer", same_normals),
        "no-signal": Mutation("gradients without the factor |x_(l-1)|", lambda: norms(_without_signals)),
        "no-factor": Mutation(
            "gradients of the first layer without one factor |d|/|e|", lambda: norms(_without_factor)
        ),
        "slope-all": Mutation("phi' 1 % too large in every deep layer", lambda: activation(slope=1.01)),
        "slope-all-little": Mutation("phi' 0.1 % too large in every deep layer", lambda: activation(slope=1.001)),
        "slope-one": Mutation("phi' 3 % too large in the third layer", lambda: activation(slope=1.03, layer=2)),
        "value-all": Mutation("phi 0.1 % too large in every deep layer", lambda: activation(value=1.001)),
        "value-one": Mutation("phi 1 % too large in the third layer", lambda: activation(value=1.01, layer=2)),
        "single": Mutation("phi and phi' in 32 bits", lambda: activation(kind=_Single)),
        "no-shift": Mutation("the normalized activation without its shift b", no_shift),
        "input": Mutation("inputs 0.1 % too long", lambda: longer_input(1.001)),
        "weights-little": Mutation("weights times 1.001", lambda: matrices(1.001)),
        "weights": Mutation("weights times 1.01", lambda: matrices(1.01)),
        "gaussian": Mutation("Gaussian weights in the place of Haar", gaussian),
        "explicit-weights": Mutation("explicit weights times 1.001", lambda: explicit_matrices(lambda w: 1.001 * w)),
        "qr-signs": Mutation("explicit weights by QR without the signs", lambda: ensemble("qr_unsigned")),
        "explicit-gaussian": Mutation("explicit Gaussian weights in the place of Haar", lambda: ensemble("gaussian")),
        "transposed": Mutation("explicit weights not transposed in the backward pass", transposed_backward),
        "one-matrix": Mutation("one explicit matrix in all layers", one_matrix),
    }
)
"""Name -> error."""

SPECTRUM_MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        "mean": Mutation("explicit weights times 1.03", lambda: explicit_matrices(lambda w: 1.03 * w)),
        "relative_variance": MUTATIONS["explicit-gaussian"],
        "separation": Mutation("the signals of a batch taken for orthogonal", orthogonal_inputs),
        "tangent_kernel": Mutation("the gradients of a batch taken for orthogonal", orthogonal_gradients),
    }
)
"""Quantity of `gpn.spectrum` -> an error that its row detects."""
