"""Many layers: the length map and the correlation map of infinite width, and the fluctuation law of finite width.

It imports `theory.layer` and below. Begin with `length_map`, then `fluctuation`.
"""
