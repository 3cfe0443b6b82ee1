"""Pre-processing by name: turns a model's fields into the tensors that its file takes.

``model.yaml`` names a step and its parameters. Training and serving both call
the steps of this package, so that both see the same numbers.
"""
