"""Batches: files of requests that the gateways answer in the background, each as the key that made the batch.

The lines of a batch are answered by one gateway at a time, which holds a lease on it (``batch_table``). Their answers are
written in parts, each an object that is created once (``parts``). A gateway that takes over goes on behind the last part,
so that no line has two answers. Without clocks that agree, two gateways may do the same work for a while; the part of the
first one counts.
"""
