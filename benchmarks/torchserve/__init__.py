"""TorchServe in a virtual environment of its own, serving one model with batching."""
