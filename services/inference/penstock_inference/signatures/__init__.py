"""Reads what a model's file says of itself. It happens in a confined process, because some formats run code for that."""
