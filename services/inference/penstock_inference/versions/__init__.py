"""The model versions of a pod: which should be here, how they come, and how they leave."""
