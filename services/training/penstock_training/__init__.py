"""The example pipelines, from data to a registered version: clean, split, train, evaluate, save, register."""
