"""From data to a registered version: collect, clean, split, train, evaluate, save, register."""
