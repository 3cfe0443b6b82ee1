"""Tries an artifact as a pod would, before it is registered."""
