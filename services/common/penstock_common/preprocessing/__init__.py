"""Pre-processing by name: from a model's fields to the tensors that its file takes, alike in training and serving."""
