"""The deep bound proved in ball arithmetic: the checker of certificates accepts what is proved and refuses the rest."""

import json
import math
from pathlib import Path

import pytest
from flint import arb, ctx

from theory.activations.specification import activation
from theory.bounds.certified import checker
from theory.bounds.certified.formula import Refused
from theory.bounds.certified.inequalities import dominates, excess
from theory.bounds.certified.means import Line, Place, plus
from theory.bounds.certified.writing import certify, formulas
from theory.bounds.deep import deep_bound
from theory.normalization.normalize import normalize

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
    part[last] = change(part[last])
    return json.dumps(certificate)


def test_a_certificate_is_proved_from_disk_and_a_lower_bound_is_not(monkeypatch):
    said = []
    code, sentence = checker.verdict(FILE, said.append)
    assert code == 0, sentence
    assert sentence.startswith("proved: P(max_l |log(|dE/dW_l|^2/|dE/dW_L|^2)| >= 1.2")
    assert "for n = 130, L = 3, Haar weights, random readout" in sentence
    assert sentence.endswith("f(x) = tanh(x)")
    assert len(said) == 13
    total = json.loads(FILE.read_text())["statement"]["bound"]
    monkeypatch.setattr(checker.Theorem, "terms", lambda *_: {"all": arb(total).log() - arb("1e-9")})
    checker.prove(checker.parse(FILE.read_text()))
    with pytest.raises(Refused, match="add up to"):
        checker.prove(checker.parse(changed("statement.bound", lambda bound: 0.999 * bound)))


def test_the_proof_agrees_with_the_verifier_in_floats_and_costs_little():
    phi = normalize(activation("sin"))
    found = deep_bound(phi, 150, 3, 1.0)
    proved = certify(found, phi, found.certificate.epsilon)
    assert proved.rigor == "certified"
    assert proved.document["statement"]["bound"] == pytest.approx(proved.probability)
    assert proved.log <= 0.95 * found.log
    floats = {name.replace(" ", "_"): log for name, log in found.terms}
    for name, log in proved.terms:  # two programs that share no code
        other = floats[name.replace(" ", "_")]
        assert log <= 0.9 * other
        assert "gradients" in name or log >= other - 2e-3  # there a smaller horizon T does better


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


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\x00\xff", "[" * 10**5])
def test_a_file_that_cannot_be_read_is_said_to_be_so(text, tmp_path):
    file = tmp_path / "file.json"
    file.write_bytes(text.encode("latin-1"))
    assert checker.verdict(file)[0] == 2
    assert checker.verdict(tmp_path)[0] == checker.verdict(tmp_path / "nowhere")[0] == 2


def test_means_over_a_sphere_have_their_closed_forms():
    # sum h_i^2 = n q whatever h; and E h_1^4-like means of a Gaussian tilt are those of the sphere itself
    n, low, high = 40, arb("0.8"), arb("1.3")
    line = Line({"pieces": ["x"], "breaks": [], "scale": 1, "shift": 0}, RULE, n, low, high)
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
        line = Line(formulas(phi), RULE | {"order": 3, "edges": list(range(-64, 65, 8))}, 4, arb("0.5"), arb(1))
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
