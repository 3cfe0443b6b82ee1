"""Trainings, from data to a registered version: clean, split, train, evaluate, save, register."""
