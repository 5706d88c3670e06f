"""The paper's experiments: gradient norms at initialization, and training.

It imports `gpn.training` and below. Begin with `reproduce`. Each experiment has a file that runs it (`gradients`,
`comparison`, `table_1`) and a file for what it returns (`gradient_results`, ...); `gradient_settings` and
`comparison_grid` hold what can be varied, `gradient_rates` and `comparison_runs` the theory beside the measurement.
"""
