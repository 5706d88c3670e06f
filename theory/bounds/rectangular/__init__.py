"""The deep bound for semi-orthogonal layers of unequal widths: one certificate, evaluated layer by layer.

The search is that for square layers and need not be trusted; the verifier must be. It imports `theory.bounds` and
below. Begin with `bound`.
"""
