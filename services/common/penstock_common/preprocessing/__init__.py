"""Pre-processing steps, which turn a model's fields into the tensors that its file takes.

``model.yaml`` names a step and its parameters. Training and serving both call
the steps of this package, so that both compute the same numbers.
"""
