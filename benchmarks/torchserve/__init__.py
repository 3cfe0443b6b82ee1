"""TorchServe in a virtual environment of its own, serving the spam model with batching."""
