"""Random formulas: overlapping, nested, hidden and singular switches; quotients, poles and removable factors."""

import random

CONSTANTS = (
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "1.3",
    "-0.7",
    "1/3",
    "sqrt(2)",
    "pi/4",
    "-1.25",
    "0.1",
    "exp(-1)",
    "0.2",
    "log(2)",
)


class Formulas:
    """Random formulas with overlapping, nested, hidden and singular switches."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def constant(self) -> str:
        return self.random.choice(CONSTANTS)

    def line(self) -> str:
        c, d = self.constant(), self.constant()
        return self.random.choice(("x", "x", f"(x-({c}))", f"(({c})*x+({d}))", "(-x)", f"(2*x-({c}))"))

    def polynomial(self) -> str:
        c, d, one, two = self.constant(), self.constant(), self.line(), self.line()
        cubic = f"(x**3-x*({c})-({d}))" if c in "01230.51.3" and d in "01230.51.3" else f"(x**3-({c}))"
        return self.random.choice((one, f"(x**2-({c}))", cubic, f"({one}*{two})", f"({one})**2"))

    def smooth(self, depth: int) -> str:
        inner, line = self.formula(depth - 1), f"(x-({self.constant()}))"
        names = (
            "tanh",
            "erf",
            "sin",
            "cos",
            "arctan",
            "asinh",
            "sigmoid",
            "softplus",
            "Phi",
            "gelu",
            "silu",
            "elu",
            "relu",
        )
        shapes = (
            "exp(tanh({0}))",
            "exp(-({0})**2)",
            "1/(1+({0})**2)",
            "sqrt(1+({0})**2)",
            "log(2+cos({0}))",
            "({0})**2",
        )
        singular = (f"sin({line})/{line}", "expm1(x)/x", "x*log(abs(x))", f"abs({line})**1.5", "x*tanh(1/x)")
        return self.random.choice(
            (*(f"{name}({inner})" for name in names), *(s.format(inner) for s in shapes), *singular)
        )

    def switch(self, depth: int) -> str:
        a, b, p, q = self.formula(depth - 1), self.formula(depth - 1), self.polynomial(), self.polynomial()
        line, c, test = self.line(), self.constant(), self.random.choice(("<", "<=", ">", ">="))
        return self.random.choice(
            (
                f"max({p},{q})",
                f"min({a},{c})",
                f"abs({p})",
                f"where({p}{test}{q},{a},{b})",
                f"where(({line}{test}{c}) and ({p}>{c}),{a},{b})",
                f"heaviside({p})*({a})",
                f"sign({p})*({p})",
                f"max(min({p},abs({line})),{c})",
                f"clip({p},-1,1.5)",
                f"max(tanh(1/{line}),{c})" if "x" in line else a,
                f"max(exp({line})-({c}),{c})",
                f"abs(tanh({line})-(1/3))",
                f"({a} if {p}{test}0 else {b})",
            )
        )

    def formula(self, depth: int) -> str:
        kind = self.random.random()
        if depth <= 0 or kind > 0.95:
            return self.line()
        if kind < 0.35:
            return self.smooth(depth)
        if kind < 0.65:
            return self.switch(depth)
        sign = "+" if kind < 0.8 else "-" if kind < 0.87 else "*"
        return f"({self.formula(depth - 1)}{sign}{self.formula(depth - 1)})"


class Singular(Formulas):
    """Formulas with a pole inside a switch, a factor that cancels, or a bounded function of an infinite argument."""

    def pole(self) -> str:
        """A function with a pole at one or two points."""
        p, one = self.polynomial(), self.line()
        return self.random.choice(
            (f"1/{self.line_of_x()}", f"1/{self.quadratic()}", f"({one})/({p})", f"({p})/({one})")
        )

    def line_of_x(self) -> str:
        return self.random.choice(("x", f"(x-({self.constant()}))", f"(2*x-({self.constant()}))"))

    def quadratic(self) -> str:
        return f"(x**2-({self.constant()}))"

    def formula(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.45:
            return super().formula(depth)
        inner, line, pole, c = self.formula(depth - 1), self.line_of_x(), self.pole(), self.constant()
        p = self.random.choice((line, self.quadratic()))
        return self.random.choice(
            (
                f"clip({pole},-1,1.5)",
                f"max({pole},{c})",
                f"min({pole},max({inner},{c}))",
                f"1/max({pole},-0.5)",
                f"hard_tanh({pole})",
                f"tanh({pole})",
                f"arctan({pole})",
                f"sigmoid({pole})*({inner})",
                f"exp(-abs({pole}))",
                f"abs({p})/({p})",
                f"({p})/abs({p})*({inner})",
                f"({inner})*(({p})/({p}))",
                f"relu({line})/({line})*({inner})",
                f"x+{line}/sqrt(({line})**2)",
                f"abs(abs({p})-abs({inner}))",
                f"({inner})/(1+({inner})**2)",
                f"(({line})**2-1)/(({line})-1)*sigmoid(x)",
                f"sin({line})/({line})*({inner})",
            )
        )
