"""Who is calling: credentials become principals."""
