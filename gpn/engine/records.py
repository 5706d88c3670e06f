"""What the forward and the backward pass of a network return."""

from dataclasses import dataclass

from gpn.engine.batch_normalization import BatchStatistics
from gpn.engine.norms import FloatArray


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Forward:
    """Record of a forward pass.

    Attributes:
        inputs: x_0, array (batch, n_0); the caller's array, not a copy.
        preactivations: h_1, ..., h_L, each (batch, n_l), what the activations are applied to (after batch
            normalization where there is some); nothing else is kept per layer, since x_l and phi'(h_l) come
            together from h_l when the backward pass needs them.
        outputs: x_L, array (batch, n_L).
        signal_norms: |x_l| for l = 1..L, array (batch, L).
        input_norms: |x_0|, array (batch,).
        first_nonfinite_layer: the first layer l (1..L) in which h_l or x_l overflowed or is not a number for
            some sample; None if all is finite.
        statistics: of each layer with batch normalization, None for the others; empty if no layer has it.
        evaluated: x_l and phi'(h_l) of each layer if `forward` was asked to keep them, else empty.
    """

    inputs: FloatArray
    preactivations: tuple[FloatArray, ...]
    outputs: FloatArray
    signal_norms: FloatArray
    input_norms: FloatArray
    first_nonfinite_layer: int | None
    statistics: tuple[BatchStatistics | None, ...] = ()
    evaluated: tuple[tuple[FloatArray, FloatArray], ...] = ()

    def __repr__(self) -> str:
        batch, depth = self.signal_norms.shape
        return f"Forward(batch={batch}, depth={depth}, first_nonfinite_layer={self.first_nonfinite_layer})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BackwardNorms:
    """Norms of a backward pass, d_l = dE/dh_l, all for the loss E summed over the batch.

    With batch normalization h_l is W_l x_{l-1} + b_l before it is normalized, and the samples are no longer apart:
    d_l of a sample is the derivative of the whole loss for its h_l.

    Attributes:
        backward_norms: |d_l| for l = 1..L, array (batch, L).
        gradient_norms: |dE_i/dW_l|_F = |d_l| |x_{l-1}| of each sample i alone, array (batch, L).
        batch_gradient_norms: |dE/dW_l|_F of the summed loss, array (L,).
        first_nonfinite_layer: the first layer met on the way down (the largest l) whose d_l is not finite for
            some sample; None if all is finite.
    """

    backward_norms: FloatArray
    gradient_norms: FloatArray
    batch_gradient_norms: FloatArray
    first_nonfinite_layer: int | None

    def __repr__(self) -> str:
        batch, depth = self.backward_norms.shape
        return f"BackwardNorms(batch={batch}, depth={depth}, first_nonfinite_layer={self.first_nonfinite_layer})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Gradients:
    """Exact gradients of the loss summed over the batch.

    Attributes:
        weights: dE/dW_l = sum_i d_l x_{l-1}^T for l = 1..L, each of the shape of W_l.
        biases: dE/db_l = sum_i d_l for l = 1..L, each (n_l,); empty if the network has no biases.
        inputs: dE_i/dx_0 for each sample i, array (batch, n_0).
        norms: the norms met on the way.
        normalizations: dE/d gains and dE/d shifts of each layer with batch normalization, each (n_l,), None for the
            others; empty if no layer has it.
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    inputs: FloatArray
    norms: BackwardNorms
    normalizations: tuple[tuple[FloatArray, FloatArray] | None, ...] = ()

    def __repr__(self) -> str:
        return f"Gradients({self.norms!r}, biases={bool(self.biases)})"


@dataclass(frozen=True, slots=True, eq=False)
class LayerGradient:
    """Factors of the gradient of one layer: dE/dW_l = d^T x.

    Attributes:
        index: l - 1, counted from 0.
        d: d_l = dE/dh_l of each sample, array (batch, n_l).
        x: x_{l-1}, array (batch, n_{l-1}).
        e: e_l = dE/dx_l, array (batch, n_l).
        normalization: dE/d gains and dE/d shifts, each (n_l,); None without batch normalization.
    """

    index: int
    d: FloatArray
    x: FloatArray
    e: FloatArray
    normalization: tuple[FloatArray, FloatArray] | None
