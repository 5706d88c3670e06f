"""Real data: files in their published formats, inputs for a verification, labelled data sets to train on.

It imports `gpn.engine` and `theory.errors`. Begin with `files`, the one reader; `inputs` are vectors for networks,
`datasets` samples and labels for training.
"""
