"""Train deep networks as classifiers, with the gradient norm of every layer recorded.

It imports `gpn.experiment` and the rooms below. Begin with `train`: it reads its keywords into `settings`, draws the
network and repeats `step`, which changes one layer at a time by an `optimizers` rule and keeps it orthogonal with
`orthogonality`. `results` is what comes out.
"""
