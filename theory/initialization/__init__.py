"""What the gain of the weights and Gaussian biases make of a deep network: which gains, where they lead, edge of chaos.

It imports `theory.depth` and below. Begin with `gains`, then `regime` and `edge`; `path` follows layers that differ.
"""
