"""Architectures in plain PyTorch, whose weights come from a file: one module for each family."""
