"""What decides whether a deep network trains: two inputs stay apart, and the directions of a gradient survive.

It imports `theory.depth` and below. Begin with `separation`, then `isometry`; `tangent_kernel` joins both, and `design`
chooses the member of a family that keeps them at a given depth.
"""
