"""A model's signature at work: what a row may hold, and how its answer reads."""
