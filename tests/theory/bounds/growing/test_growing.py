"""The sharper search for the upper side: its linear programs, and what it gains where the bracket costs much."""

import numpy as np
import pytest

from theory.activations.specification import activation
from theory.bounds.certificate import Readout
from theory.bounds.draft import Draft, blank_certificate
from theory.bounds.growing.cones import Cone
from theory.bounds.moments import identity
from theory.bounds.search import propose
from theory.bounds.verifier import prepare, verify
from theory.depth.coefficients import depth_coefficients
from theory.normalization.normalize import normalize

SELU = normalize(activation("selu"))


@pytest.fixture(scope="module")
def cone():
    """Sums of exponentials, and the mean over one layer of tanh."""
    tanh = normalize(activation("tanh"))
    blank = blank_certificate(300, 10, 1.0, Readout())
    draft = Draft(prepare(blank, tanh, 4.0), depth_coefficients(tanh), 0.01)
    draft = draft.with_(low=0.7, high=1.3)
    return Cone(draft, identity(draft.setting), 0.0, (0.5, 1.0, 2.0))


def test_a_sum_covers_a_function_and_hardly_exceeds_it(cone):
    for logs in (np.zeros(21), 6 * (cone.q - 1), np.log(np.cosh(8 * (cone.q - 1)))):
        with np.errstate(divide="ignore"):  # weights of nothing
            excess = cone.at(cone.cover(logs)) - logs
        assert excess.min() > -1e-6
        assert np.interp(1.0, cone.q, excess) < 0.02


def test_a_mean_grows_by_nothing_since_constants_are_kept(cone):
    # F 1 = 1, so the least growth of a positive function is 0; the saddle point errs by 1/n.
    with np.errstate(divide="ignore"):
        assert abs(cone.growth(1e-4)) < 1 / 300
        f = cone.rising(1 / 300, np.zeros(21))
        assert np.isnan(cone.rising(-0.05, np.zeros(21))).all()
    assert np.all(cone.mapped(f) <= cone.at(f) + 1 / 300 + 1e-6)
    [mixture] = cone.mixtures([f])
    assert mixture.log(cone.q) == pytest.approx(cone.at(f), abs=1e-9)


def test_selu_at_depth_ten_needs_less_width():
    # The quick search alone asks for 199; the verifier judges what is proposed. A whole search: 3 s of processor time.
    found = propose(SELU, 190, 10, 1.0, Readout(), 0.0065)
    assert verify(found, SELU).log < np.log(0.05)
    assert len(set(found.upper.bracket_tilts)) == 1  # the sharper search was taken
