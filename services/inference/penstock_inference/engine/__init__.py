"""The engine of one loaded version: takes a message, queues it, runs it in a batch, gives its outputs."""
