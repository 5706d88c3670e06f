"""The deep bound proved in ball arithmetic: the checker of certificates accepts what is proved and refuses the rest."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flint import arb, ctx

from theory.activations.specification import activation
from theory.bounds import deep, moments
from theory.bounds.certificate import Certificate, Chain, Escape, Mixture, Readout, Reflection, Side
from theory.bounds.certified import checker
from theory.bounds.certified.formula import Refused, sentence
from theory.bounds.certified.inequalities import dominates, excess
from theory.bounds.certified.means import Line, Place, plus
from theory.bounds.certified.writing import formulas, written
from theory.bounds.draft import blank_certificate
from theory.bounds.verifier import DeepBound, prepare, verify
from theory.normalization.normalize import normalize

CONSTANTS = {"breaks": [], "scale": 1, "shift": 0}
STATEMENT = {"width": 9, "depth": 2, "epsilon": 1, "bound": 1, "readout": "any"}
FILE = Path(__file__).parent / "tanh_130_3.json"
RULE = {"edges": list(range(-320, 321, 4)), "order": 12, "step": 0.4, "frequencies": 24, "cells": 1, "tolerance": 1e-3}


@pytest.fixture(autouse=True)
def precision():
    saved = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = 128, 3
    yield
    ctx.prec, ctx.cap = saved


def changed(path="", change=lambda value: value):
    """The certificate of the file with one number changed, as text."""
    certificate = json.loads(FILE.read_text())
    *keys, last = path.split(".") if path else ("statement", "width")
    part = certificate
    for key in keys:
        part = part[int(key) if isinstance(part, list) else key]
    part[last] = change(part[last] if isinstance(part, list) else part.get(last))
    return json.dumps(certificate)


@pytest.fixture(scope="module")
def proof():
    """The verdict on the file, the terms that are proved, and what was said meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        terms, said = [], []
        prove = checker.prove
        patch.setattr(checker, "prove", lambda *given: terms.append(prove(*given)))
        return checker.verdict(FILE, said.append), terms[0], said


def test_a_certificate_is_proved_from_disk_and_a_lower_bound_is_not(proof, monkeypatch):
    (code, sentence), _, said = proof
    assert code == 0, sentence
    assert sentence.startswith("proved: P(max_l |log(|dE/dW_l|^2/|dE/dW_L|^2)| >= 1.2")
    assert "for n = 130, L = 3, Haar weights, |x_0|^2 = n, dE/dx_L a random direction" in sentence
    assert sentence.endswith("f(x) = tanh(x)")
    assert len(said) == 13
    total = json.loads(FILE.read_text())["statement"]["bound"]
    monkeypatch.setattr(checker.Theorem, "terms", lambda *_: {"all": arb(total).log() - arb("1e-9")})
    checker.prove(checker.parse(FILE.read_text()))
    with pytest.raises(Refused, match="add up to"):
        checker.prove(checker.parse(changed("statement.bound", lambda bound: 0.999 * bound)))


def mixtures(functions):
    return tuple(Mixture(tuple(slopes), tuple(weights)) for slopes, weights in functions)


def side(s):
    reflection = Reflection(s["power"], tuple(s["shares"]), mixtures(s["g"]))
    numbers = (tuple(s[name]) for name in ("rates", "log_weights", "shifts"))
    chain = Chain(s["exponent"], *numbers, mixtures(s["f"]), mixtures(s["h"]), reflection)
    floor = (s.get(name, 0.5) for name in ("floor", "floor_tilt", "floor_shift"))
    return Side(s["b"], s["horizon"], 1.0, 0.0, tuple(s["brackets"]), *floor, (chain,))


def in_floats(d):
    """The file as a certificate of the search, without its bound on the variances."""
    s, escapes = d["statement"], [Escape(e["tilt"], mixtures(e["functions"])) for e in d["escapes"].values()]
    parts = (*d["tube"], tuple(escapes), *d["limits"].values(), tuple(d["tilts"].values()), *d["top"].values())
    return Certificate(s["width"], s["depth"], s["epsilon"], Readout(), *parts, side(d["upper"]), side(d["lower"]))


def test_the_proof_agrees_with_the_verifier_in_floats(proof, monkeypatch):
    # Two programs that share no code, on the same certificate; only the polynomials above the variances are lent to
    # the verifier. Its suprema lie up to 0.002 above what they bound (test_terms); those of sums over several rates,
    # in the small gradients, lie further above, so these are compared layer by layer with means at points.
    document, phi = json.loads(FILE.read_text()), normalize(activation("tanh"))
    polynomials = {sign: document[name]["variance"][::-1] for name, sign in (("upper", 1), ("lower", -1))}
    monkeypatch.setattr(moments, "variance_room", lambda _, sign, __, square: 1 / np.polyval(polynomials[sign], square))
    certificate = in_floats(document)
    proved = {name.replace("_", " "): log for name, log in proof[1].items()}
    floats = dict(verify(certificate, phi).terms)
    assert proved.keys() == floats.keys()
    small, losses = floats.pop("small gradients"), {name: proved[name] - log for name, log in floats.items()}
    assert all(-2e-3 <= loss <= 0.02 * abs(floats[name]) for name, loss in losses.items())
    assert small - 0.2 <= proved["small gradients"] <= small
    setting, chain = prepare(certificate, phi), certificate.lower.chains[0]
    kernel, q = moments.layer_kernel(setting, -1, certificate.lower, chain), np.linspace(*document["tube"], 41)
    theorem = checker.Theorem(checker.parse(FILE.read_text()))
    numbers = [[arb(x) for x in document["lower"][name]] for name in ("rates", "log_weights", "shifts")]
    rates, weights, shifts = numbers
    each = weights + [w for t, w in zip(rates, weights, strict=True) if t > 0 for _ in certificate.lower.bracket_tilts]
    plain = theorem.majorant(-1, theorem.c["lower"], rates, shifts)
    balls = [(k + w, psi) for (k, psi), w in zip(plain, each, strict=True)]
    first, second = chain.functions[:2]
    growth = setting.mapped(kernel, [first], q)[0] - second.log(q)
    assert 0 <= float(theorem.levels(balls, theorem.c["lower"]["f"], 2)[1]) - growth.max() <= 5e-3  # its tolerance


def test_what_the_search_found_is_written_as_the_file():
    document, phi = json.loads(FILE.read_text()), normalize(activation("tanh"))
    found = written(in_floats(document), phi, 1.2)
    for name in ("tube", "escapes", "limits", "tilts", "top"):
        assert found[name] == document[name]
    for name in ("upper", "lower"):
        assert found[name]["variance"] == pytest.approx(document[name].pop("variance"), rel=0.01)
        assert found[name].pop("log_weights") == pytest.approx(document[name].pop("log_weights"), abs=2e-9)
        assert {key: found[name][key] for key in document[name]} == document[name]
    del document["statement"]["bound"]
    assert found["statement"] | document["statement"] == found["statement"]


REFUSED = {  # part -> what is changed, and what the checker says
    "upper.log_weights": (lambda w: [x - 0.1 for x in w], "inequality (4)"),
    "lower.log_weights": (lambda w: [x - 0.1 for x in w], "inequality (4)"),
    "lower.exponent": (lambda x: 1.1 * x, "inequality (4)"),
    "lower.floor": (lambda x: 0.9 * x, "inequality (4)"),
    "lower.variance": (lambda p: [0.9 * x for x in p], "variances"),
    "upper.horizon": (lambda t: 0.9 * t, "rates lie in"),
    "upper.b": (lambda b: b - 0.1, "its sign"),
    "lower.b": (lambda _: -1.01, "above -1"),
    "upper.shifts": (lambda c: [0.5 for _ in c], "variances"),
    "upper.brackets": (lambda t: [0.01 * x for x in t], "exponent above each rate"),
    "upper.g": (lambda g: g[:-1], "has its g_k"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_side_with_one_wrong_number_is_refused(path):
    change, words = REFUSED[path]
    certificate = checker.parse(changed(path, change))
    side = path.split(".")[0]
    theorem = checker.Theorem(certificate)
    with pytest.raises(Refused, match=words.replace("(", r"\(").replace(")", r"\)")):
        theorem.maximum(1 if side == "upper" else -1, certificate[side])


@pytest.mark.parametrize(
    ("path", "value", "code", "words"),
    [
        ("statement.width", 129.5, 1, "whole number"),
        ("statement.readout", "aligned", 1, "readout"),
        ("tube", [1.01, 1.2], 1, "tube lies around 1"),
        ("rule.edges", [-320, 0, 256], 1, "symmetric"),
        ("statement.activation.pieces", ["1/x"], 1, "not finite"),
        ("statement.activation.pieces", ["abs(x)"], 1, "unknown"),
        ("statement.activation.pieces", ["__import__('os')"], 1, "unknown"),
        ("statement.activation", {"pieces": ["x", "x + 1"], "breaks": [0], "scale": 1, "shift": 0}, 1, "continuous"),
        ("rule.edges", [0], 1, "ordered"),
        ("rule.step", -0.4, 1, "with a step"),
        ("rule.cells", 10**6, 1, "cells"),
        ("tube", [1e-6, 1.2], 1, "between 0.01 and 100"),
        ("statement.activation.pieces", ["exp(exp(exp(x)))"], 1, "not finite"),
        ("statement.activation.pieces", ["-" * 3000 + "x"], 2, "no certificate"),
        ("statement.weights", "gaussian", 2, "finite numbers"),
        ("statement.weights", 1, 1, "unknown"),
        ("limits.a_high", "0.85", 2, "finite numbers"),
        ("limits.a_high", None, 2, "finite numbers"),
        ("upper.f", [[[0], [0]]] * 401, 2, "finite numbers"),
        ("statement.epsilon", math.nan, 2, "NaN is no number"),
        ("statement.epsilon", math.inf, 2, "Infinity is no number"),
        ("upper", {}, 2, "no certificate"),
        ("statement", [], 2, "no certificate"),
    ],
)
def test_what_is_no_certificate_is_refused_in_one_sentence(path, value, code, words, tmp_path, monkeypatch):
    monkeypatch.setattr(checker.Theorem, "escape", lambda *_: arb(-9))  # not the slow ones
    monkeypatch.setattr(checker.Theorem, "conditions", lambda _: {})
    monkeypatch.setattr(Line, "supremum", lambda *_: arb(-99))
    file = tmp_path / "file.json"
    file.write_text(changed(path, lambda _: value))
    found, sentence = checker.verdict(file)
    assert (found, words in sentence, "\n" in sentence) == (code, True, False), sentence


def test_a_formula_is_said_without_what_it_does_not_compute():
    said = sentence({**STATEMENT, "activation": {"pieces": ["tanh(x) # for all widths"], **CONSTANTS}})
    assert said.endswith("f(x) = tanh(x)")


def test_a_proof_is_given_up_in_bounded_time():
    with pytest.raises(Refused, match="given up after 0 seconds"):
        checker.prove(checker.parse(FILE.read_text()), patience=0.0)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\x00\xff", "[" * 10**5])
def test_a_file_that_cannot_be_read_is_said_to_be_so(text, tmp_path):
    file = tmp_path / "file.json"
    file.write_bytes(text.encode("latin-1"))
    assert checker.verdict(file)[0] == 2
    assert checker.verdict(tmp_path)[0] == checker.verdict(tmp_path / "nowhere")[0] == 2


def test_means_over_a_sphere_have_their_closed_forms():
    # sum h_i^2 = n q whatever h; and E h_1^4-like means of a Gaussian tilt are those of the sphere itself
    n, low, high = 40, arb("0.8"), arb("1.3")
    line = Line({"pieces": ["x"], "breaks": [], "scale": 1, "shift": 0}, RULE, n, low, high, lambda: None)
    zero = line.field(lambda _: arb(0))
    assert float(line.supremum([(arb(0), zero)])) == pytest.approx(0.0, abs=2e-3)
    squares = line.supremum([(arb(1), plus(zero, arb("0.25"), line.square))])
    assert 0 <= float(squares) - (1 + 0.25 * n * 1.3) < 2e-3
    # against a mixture: the largest ratio is where its two terms are as 4 to 1, within the tube
    ratio = line.supremum([(arb(0), plus(zero, arb("0.25"), line.square))], ((12, 2), (0, 0)))
    x = math.log(4) / 10
    exact = 0.25 * n * (1 + x) - math.log(math.exp(12 * x) + math.exp(2 * x))
    assert 0 <= float(ratio) - exact < 2e-3


def test_phi_and_its_derivative_enclose_those_of_floats():
    for name in ("tanh", "erf", "sin", "arctan", "selu", "gelu", "elu", "silu"):
        phi = normalize(activation(name))
        line = Line(
            formulas(phi), RULE | {"order": 3, "edges": list(range(-64, 65, 8))}, 4, arb("0.5"), arb(1), lambda: None
        )
        for place in line.places[: line.first]:
            value, slope = phi.value_and_slope(float(place.z))
            assert isinstance(place, Place)
            assert float(place.value) == pytest.approx(float(value), abs=1e-12)
            assert float(place.slope) == pytest.approx(float(slope), abs=1e-12)


def test_inequalities_of_one_number_have_no_slack_of_the_wrong_sign():
    power = arb(7)
    tangent = power * (power / arb(6)).log() - power
    assert dominates(1, power, [arb(6)], [tangent + arb("1e-20")], arb(1))
    assert not dominates(1, power, [arb(6)], [tangent - arb("1e-20")], arb(1))
    one = [arb(0), arb(9)], [arb(0), arb(9)]  # 1 + e^9 e^{-9 y} is above 1/y where it is 2 at 1
    assert dominates(-1, arb(1), *one, arb("0.8"))
    assert not dominates(-1, arb(1), *one, arb("0.0001"))
    # (5): max(e^{tJ(y)} - 1) e^{-theta y} on a grid, J with and without a loss
    for loss in (0.0, 0.3):
        t, theta, ys = 2.0, 5.0, [k / 1000 for k in range(1, 5000)]
        j = [y - loss if y >= 2 * loss else y * y / (4 * loss) for y in ys]
        literal = max(math.log(math.expm1(t * x)) - theta * y for x, y in zip(j, ys, strict=True))
        assert literal <= float(excess(arb(t), arb(theta), arb(loss))) <= literal + 5e-3
    with pytest.raises(Refused):
        excess(arb(2), arb(2), arb(0))


def test_a_width_is_proved_or_there_is_none(monkeypatch):
    # also where the sharper search, which has one exponent for all brackets, found the certificate
    phi, proofs = normalize(activation("tanh")), []

    def attempt(_activation, problem, *_):
        return DeepBound("deep", -0.02 * problem.width, certificate=blank_certificate(*problem[:4]))

    def proved(bound, log, reason=""):
        proofs.append(bound.certificate.width)
        return replace(bound, log=log, reason=reason, rigor="certified")

    def width(prove):
        proofs.clear()
        monkeypatch.setattr(deep, "certify", lambda bound, **_: prove(bound))
        return deep.required_width_deep(phi, 10, 1.0, 0.05, certified=True)

    monkeypatch.setattr(deep, "_attempt", attempt)
    plain = deep.required_width_deep(phi, 10, 1.0, 0.05)
    assert plain.bound.rigor != "certified"
    found = width(lambda bound: proved(bound, 0.9 * bound.log))
    assert (found.bound.rigor, found.bound.certificate.width) == ("certified", found.width)
    assert found.bound.log < math.log(0.05)
    assert plain.width < found.width < 1.2 * plain.width
    assert len(proofs) == 2
    for log, reason, count, words in ((0.0, "no", 1, "no"), (-1.0, "", 4, "stays above 0.05")):
        found = width(partial(proved, log=log, reason=reason))
        assert (found.width, len(proofs)) == (None, count)
        assert words in found.reason
