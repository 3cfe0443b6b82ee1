"""The model versions on this pod: which should be here, how they arrive, and how they leave."""
