"""How much each caller may send."""
