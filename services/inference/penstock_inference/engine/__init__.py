"""From a checked message to its outputs: the queue, the batches and the runs of one loaded version."""
