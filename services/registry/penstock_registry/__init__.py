"""Penstock's registry: models, immutable versions and aliases as a log in object storage."""
