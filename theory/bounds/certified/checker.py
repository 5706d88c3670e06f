r"""Check a certificate of the deep bound from disk: `python -m theory.bounds.certified.checker FILE`.

A certificate states :math:`P(\max_l |\log G_l| \ge \epsilon) \le p` for a formula phi, a width, a depth and a readout,
and gives the free parameters of the theorem. Every number is a ball, every decimal means itself, and what is not
decided is refused. It shares no code with the search or with the verifier in float64: only python-flint, Python's
library and the modules beside it are imported. Proof, inequalities and names: docs/deep-bound.md.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

from flint import arb, arb_series, ctx

from theory.bounds.certified.formula import Refused, admitted, need, sentence, top
from theory.bounds.certified.inequalities import GRID, Function, dominates, excess, log_at, log_value, part, supremum
from theory.bounds.certified.means import Field, Kernel, Line, Place, plus

_BITS, _TERMS, PATIENCE = 128, 3, 1800.0  # precision of numbers and of series; seconds of processor time
_MALFORMED = (TypeError, KeyError, IndexError, AttributeError, SyntaxError, RecursionError, MemoryError)
_STATEMENT, _ACTIVATION = (
    {"activation", "width", "depth", "epsilon", "bound", "readout"},
    {"pieces", "breaks", "scale", "shift"},
)


class Theorem:
    """The terms of the bound that one certificate gives."""

    def __init__(self, c: dict[str, Any], patience: float = PATIENCE) -> None:
        self.c, s, end = c, c["statement"], process_time() + patience
        self.n, self.depth, self.random = s["width"], s["depth"], s["readout"] == "random"
        need(isinstance(self.n, int) and 4 <= self.n <= 10**8, "the width is a whole number from 4 to 10^8")
        need(isinstance(self.depth, int) and 2 <= self.depth <= 10**6, "the depth is a whole number from 2 to 10^6")
        need(set(s) == _STATEMENT and set(s["activation"]) == _ACTIVATION, "the statement has a part that is unknown")
        need(s["readout"] in ("random", "any") and bool(s["epsilon"] > 0), "the readout is 'random' or 'any'")
        self.low, self.high = map(arb, c["tube"])
        tube = [arb(1) / 100, self.low, arb(1), self.high, arb(100)]
        need(all(bool(a < b) for a, b in pairwise(tube)), "the tube lies around 1, between 0.01 and 100")

        def alive() -> None:
            need(process_time() < end, f"given up after {patience:.0f} seconds")

        self.line, n = Line(s["activation"], c["rule"], self.n, self.low, self.high, alive), arb(self.n)
        self.limits, self.zero = {k: arb(v) for k, v in c["limits"].items()}, self.line.field(lambda _: arb(0))
        log = (n / 4 - arb(1) / 2).lgamma() - (n / 4).lgamma() - (4 * arb.pi().sqrt()).log()
        self.modulus = log + n / 2 * arb(2).log() + (n / 2).lgamma() - (n / 2 - 1) * n.log() + n / 2  # log Lambda_n

    def terms(self, say: Callable[[str], None]) -> dict[str, arb]:
        """The logarithm of each term; `say` is told of each."""
        c, n, found, layers = self.c, self.n, dict[str, arb](), arb(self.depth - 1).log()

        def add(name: str, *logs: Any) -> None:
            found[name] = sum(logs, arb(0))
            say(name)

        for name, sign in (("below", -1), ("above", 1)):
            add(f"tube, {name}", self.escape(c["escapes"][name], sign))
        for name, psi in self.conditions().items():
            tilt = arb(c["tilts"][name])
            need(bool(tilt > 0), "the exponents of E2 are positive")
            count = arb(self.depth).log() if name == "sigma_high" else layers
            add(f"limit of {name}", self.line.supremum([(arb(0), plus(self.zero, tilt, psi))]), count)
        side, rate = c["lower"], arb(c["lower"]["floor_tilt"])
        need(bool(rate > 0) and bool(side["floor"] > 0), "E3 has a floor and an exponent")
        kernel = self.majorant(-1, side, [rate], [arb(side["floor_shift"])])
        add("floor of one layer", rate * side["floor"], self.line.supremum(kernel), layers)
        if self.random:
            x = {key: arb(value) for key, value in c["top"].items()}
            need(all(bool(x[k] > 0) for k in ("overlap", "floor", "tilt")) and bool(x["overlap"] < 1), "E4 is limited")
            # P(B > t) <= 2 c (1 - t)^((n-1)/2) / ((n - 1) sqrt(t)), c the density of a coordinate at 0
            beta = (arb(n) / 2).lgamma() - (arb(n - 1) / 2).lgamma() + (1 - x["overlap"]).log() * (n - 1) / 2
            add("top, overlap", beta, (2 / (n - 1) / (arb.pi() * x["overlap"]).sqrt()).log())
            floor = self.line.supremum([self.direction(-x["tilt"] / n, x["shift"])])
            add("top, floor", x["tilt"] * x["floor"], floor)
        for name, sign, side in (("large gradients", 1, c["upper"]), ("small gradients", -1, c["lower"])):
            price = self.top_cost(sign, side) - arb(side["exponent"]) * c["statement"]["epsilon"]
            add(name, self.maximum(sign, side), price)
        return found

    def escape(self, e: dict[str, Any], sign: int) -> arb:
        """E1: q leaves the tube on one side, from within it."""
        need(bool(e["tilt"] > 0), "the exponents of E1 are positive")
        functions = [([sign * arb(e["tilt"])], [arb(0)]), *e["functions"]]
        levels = self.levels([(arb(0), self.zero)], functions, min(len(functions), self.depth))
        logs = [level + log_at(f, 1) for level, f in zip(levels[1:], functions[1:], strict=False)]
        rest = levels[-1] + top(log_at(functions[-1], q) for q in (self.low, self.high))
        total = sum((x.exp() for x in logs), arb(0)) + (self.depth - 1 - len(logs)) * rest.exp()
        log: arb = total.log() - e["tilt"] * (self.high - 1 if sign > 0 else 1 - self.low)
        return log

    def conditions(self) -> dict[str, Field]:
        """E2: a limit fails only if the sum of one of these functions over the neurons is not negative."""
        x, field = self.limits, self.line.field
        return {
            "a_high": field(lambda p: (p.slope * p.slope - x["a_high"]) * p.value * p.value),
            "sigma_high": field(lambda p: (p.slope * p.slope - x["sigma_high"]) * p.z * p.z),
            "z_low": field(lambda p: x["z_low"] - p.slope * p.slope),
            "z_high": field(lambda p: p.slope * p.slope - x["z_high"]),
            "gamma_low": field(lambda p: (x["gamma_low"] * p.z - p.value * p.slope) * p.z),
            "gamma_high": field(lambda p: (p.value * p.slope - x["gamma_high"] * p.z) * p.z),
        }

    def direction(self, tau: arb, c: Any) -> tuple[arb, Field]:
        """Lemma F: a product over the neurons."""

        def log(p: Place) -> Any:
            room = 1 - 2 * c - 2 * tau * p.slope * p.slope
            need(bool(room.real > 0), "1 - 2c - 2 tau s is not seen to be positive")
            return (arb(1) / self.n - arb(1) / 2) * room.log()

        return self.modulus - c * self.n, self.line.field(log)

    def majorant(self, sign: int, side: dict[str, Any], rates: list[arb], shifts: list[arb]) -> Kernel:
        """Lemma A with (6): for each rate its product, then for each positive rate those of the brackets."""
        n, b, horizon, x, low = self.n, arb(side["b"]), arb(side["horizon"]), self.limits, self.low
        need(bool(b >= 0) if sign > 0 else bool(b > -1) and bool(b <= 0), "b has its sign, and lies above -1")
        need(all(bool(0 <= t) and bool(t <= horizon) for t in rates), "the rates lie in [0, T]")
        most = self.variances(side, [(2 * sign * t / (n - 1), c) for t, c in zip(rates, shifts, strict=True)])
        share = 2 * abs(b) * x["sigma_high"] * most * n / arb(n - 1) ** 2
        need(bool(share * horizon < 1), "kappa' is positive")
        price = 2 * horizon / (arb(n - 1) ** 2 / n * (1 - share * horizon))
        slack = top(self.modulus / t for t in rates if bool(t > 0))
        limit = (n * x["z_low"] - x["a_high"]) / (n - 1) if sign > 0 else n * x["z_high"] / (n - 1)
        loss, w, tilts = arb(0), (1 + b) * (limit - slack), [arb(t) for t in side["brackets"]]
        if sign > 0 and bool(w > 0):
            loss = max(arb(0), ((2 * price * w + 1 - (4 * price * w + 1).sqrt()) / (2 * price) / (1 + b)).lower())
        need(len(tilts) > 1 and all(bool(t > 0) for t in tilts), "two or more brackets have positive exponents")
        eta = (x["gamma_high"] - x["gamma_low"]) / (2 * (len(tilts) - 1))

        def bracket(gamma: arb, p: Place) -> Any:
            s, square, mix = p.slope * p.slope, p.value * p.value, p.slope * (p.slope * p.value + b * gamma * p.z)
            gain = s * square + b * gamma * p.z * (2 * p.value * p.slope - gamma * p.z)
            plane = limit * square + low * ((n * s - (x["a_high"] if sign > 0 else 0)) / (n - 1) - limit)
            lost = price * variance(side, s) * mix * mix + eta * eta * abs(b) * p.z * p.z
            return sign * (gain - (1 + b) * plane) + lost + (1 + b) * slack * square

        along = self.line.field(lambda p: p.slope * p.value * p.slope * p.value)
        gammas = [x["gamma_low"] + 2 * i * eta for i in range(len(tilts))]
        shapes = [self.line.field(partial(bracket, gamma)) for gamma in gammas]
        plain, extra = list[Any](), list[Any]()
        for t, c in zip(rates, shifts, strict=True):
            constant, f = self.direction(sign * t / (n - 1), c)
            constant -= (1 - share * t).log() / 2
            f = plus(f, -sign * t / (n - 1) / (n * (self.high if sign > 0 else low)), along)
            plain.append((constant, f))
            for tilt, shape in zip(tilts, shapes, strict=True) if bool(t > 0) else ():
                extra.append((constant + excess(t, tilt * n * low * (1 + b), loss), plus(f, tilt, shape)))
        return plain + extra

    def variances(self, side: dict[str, Any], rates: list[tuple[arb, arb]]) -> arb:
        """sup of the bound on the variances for s in [0, K^2], where it is above 1 and above 1/(1 - 2c - rate s)."""
        found = list[arb]()
        for k in range(GRID):
            s = self.line.steepest * (1 + part(k, GRID)) / 2
            found.append(variance(side, s))
            rooms = [arb(1), *(1 - 2 * c - rate * s for rate, c in rates)]
            need(all(bool(found[-1] * room >= 1) for room in rooms), "the variances are not within their bound")
        return top(found)

    def top_cost(self, sign: int, side: dict[str, Any]) -> arb:
        """log T of Lemma D."""
        b, power, x, sigma = arb(side["b"]), arb(side["exponent"]), self.c["top"], self.limits["sigma_high"]
        cost: arb = sign * power * (1 + b).log()
        if not self.random:
            return cost
        steepest = arb(1) if sign > 0 else 1 / (1 + b * min(arb(1), top([sigma * x["overlap"] / x["floor"]])))
        share: arb = 2 * power * abs(b) * steepest * sigma / (x["floor"] * arb(self.n))
        need(bool(share < 1), "the alignment at the top has a mean")
        return -(1 - share).log() / 2

    def maximum(self, sign: int, side: dict[str, Any]) -> arb:
        """Lemma E: log of a bound on the mean of the running maximum, by the maximum or by the sum."""
        power, floor, f, g, h = arb(side["exponent"]), arb(side.get("floor", 1)), *(side[k] for k in ("f", "g", "h"))
        rates, weights, shifts = ([arb(v) for v in side[key]] for key in ("rates", "log_weights", "shifts"))
        need(bool(power > 0) and len(rates) == len(weights) == len(shifts) > 0, "each rate has a weight and a c")
        need(dominates(sign, power, rates, weights, floor), "inequality (4) of the powers is not seen to hold")
        need(len(f) == len(g) + 1 == len(h) + 1 > 1, "each f_k with k > 0 has its g_k and its h_k")
        each = weights + [w for t, w in zip(rates, weights, strict=True) if bool(t > 0) for _ in side["brackets"]]
        plain = self.majorant(sign, side, rates, shifts)
        kernel, last = [(k + w, psi) for (k, psi), w in zip(plain, each, strict=True)], self.depth - 1

        def above(p: arb, over: Function | None, under: Function) -> arb:
            def log(q: arb_series) -> arb_series:
                return q.log() * p - log_value(under, q) + (log_value(over, q) if over else arb(0))

            return supremum(log, self.low, self.high, self.c["rule"]["tolerance"])

        start = above(-sign * power, None, f[0])
        levels = [start + x for x in self.levels(kernel, f, self.depth)]
        bare: arb = levels[last] + log_at(f[min(last, len(f) - 1)], 1)
        if last == 1:
            return bare
        a, shares = arb(side["power"]), [arb(x) for x in side["shares"]]
        need(bool(a > 0) and len(shares) == len(rates) and all(bool(x > 0) for x in shares), "the shares are positive")
        mirror, constant = self.zero, arb(0)
        for (k, psi), theta in zip(kernel, [x / sum(shares, arb(0)) for x in shares], strict=False):
            mirror, constant = plus(mirror, -a * theta, psi), constant - a * theta * (k - theta.log())
        rises = self.levels([(constant, mirror)], g, last)
        lacks = [above((1 + a) * sign * power, x, y) for x, y in zip(f[1:], g, strict=True)]
        needed = top(levels[k] - rises[k - 1] + lacks[min(k, len(g)) - 1] for k in range(1, last))
        maximum = needed - a.log() + rises[-1] + log_at(g[min(last, len(g)) - 1], 1)
        climbs = self.levels([(arb(0), self.zero)], h, last)
        over = [above(sign * power, x, y) for x, y in zip(f[1:], h, strict=True)]
        starts = [levels[k] - climbs[k - 1] + over[min(k, len(h)) - 1] for k in range(1, last)]
        total = sum((x.exp() for x in starts), arb(0)).log() + climbs[-1] + log_at(h[min(last, len(h)) - 1], 1)
        both: arb = bare.exp() + min(top([maximum]), top([total])).exp()
        return both.log()

    def levels(self, kernel: Kernel, f: list[Function], count: int) -> list[arb]:
        """C_0 = 0, C_1, ...: e^{C_k} f_k is above the mean of e^{C_{k-1}} f_{k-1}; the last f serves all others."""
        levels, rise = [arb(0)], arb(0)
        for k in range(count - 1):
            if k < len(f):
                f_in, f_out = f[k], f[min(k + 1, len(f) - 1)]
                slopes = [(arb(s) / self.n, w - s) for s, w in zip(*f_in, strict=True)]
                pairs = [(c + w, plus(psi, s, self.line.size)) for c, psi in kernel for s, w in slopes]
                rise = self.line.supremum(pairs, f_out)
            levels.append(levels[-1] + rise)
        return levels


def variance(side: dict[str, Any], s: Any) -> Any:
    """The bound on the variances of a tilted direction: a polynomial of s = phi'^2."""
    value: Any = arb(0)
    for coefficient in reversed(side["variance"]):
        value = value * s + coefficient
    return value


def parse(text: str) -> dict[str, Any]:
    """A certificate: whole numbers, and decimals as balls that contain them."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number")

    saved, ctx.prec = ctx.prec, _BITS
    try:
        found: dict[str, Any] = json.loads(text, parse_float=arb, parse_constant=refuse)
    finally:
        ctx.prec = saved
    if not isinstance(found, dict) or not admitted(found):
        raise ValueError("it is no JSON object of finite numbers, formulas and a readout")
    return found


def prove(
    certificate: dict[str, Any], say: Callable[[str], None] = lambda _: None, patience: float = PATIENCE
) -> dict[str, float]:
    """The logarithms of the terms of a certificate, the sum of which is at most the bound that it states.

    Args:
        certificate: from `parse`.
        say: is told of each term that is computed.
        patience: seconds of processor time after which it is refused.

    Raises:
        Refused: it is not seen to prove its statement.
        Exception: it is no certificate.
    """
    saved = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = _BITS, _TERMS
    try:
        terms = Theorem(certificate, patience).terms(say)
        total = sum((top([term]).exp() for term in terms.values()), arb(0))
        need(bool(total <= certificate["statement"]["bound"]), f"the terms add up to {total.str(5, radius=False)}")
        return {name: float(top([term])) for name, term in terms.items()}
    finally:
        ctx.prec, ctx.cap = saved


def verdict(path: Path, say: Callable[[str], None] = lambda _: None) -> tuple[int, str]:
    """An exit code and a line: 0 and what is proved, 1 and why it is not, 2 where there is no certificate."""
    try:
        certificate = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        is_text = not isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError)
        reason = getattr(error, "strerror", error) if is_text else "it is empty, cut short, or no JSON"
        return 2, f"cannot read {path}: {reason}"
    try:
        prove(certificate, say)
        return 0, f"proved: {sentence(certificate['statement'])}"
    except (Refused, ArithmeticError, ValueError) as error:
        return 1, f"not proved: {error}"
    except _MALFORMED as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else "a part of it has the wrong form"
        return 2, f"{path} is no certificate of the deep bound: {what}"


if __name__ == "__main__":
    code, line = verdict(Path(sys.argv[1]))
    print(line)
    sys.exit(code)
