"""Losses with their gradients for the outputs of a network: test inputs of the backward pass."""

import numpy as np

from gpn.engine.losses import class_labels, cross_entropy_of_logits


def linear_readout(outputs, directions):
    """Return E_i = <c_i, x_i> and its gradient c_i, arrays (batch,) and (batch, n)."""
    x = np.asarray(outputs)
    gradients = np.array(np.broadcast_to(directions, x.shape))
    return np.einsum("ij,ij->i", x, gradients), gradients


def squared_error(outputs, targets, readout=None):
    """Return E_i = |R x_i - t_i|^2 / 2 and its gradient R^T (R x_i - t_i); R is the identity if it is left out."""
    x = np.asarray(outputs)
    r = np.eye(x.shape[1]) if readout is None else np.asarray(readout)
    residuals = x @ r.T - targets
    return 0.5 * np.einsum("ij,ij->i", residuals, residuals), residuals @ r


def softmax_cross_entropy(outputs, labels, readout=None):
    """Return the cross-entropy of the softmax of z = R x and its gradient R^T dE/dz; R is the identity if left out."""
    x = np.asarray(outputs, dtype=np.float64)
    r = np.eye(x.shape[1]) if readout is None else np.asarray(readout)
    logits = x if readout is None else x @ r.T
    losses, residuals = cross_entropy_of_logits(logits, class_labels(labels, len(x), logits.shape[1]))
    return losses, residuals if readout is None else residuals @ r
