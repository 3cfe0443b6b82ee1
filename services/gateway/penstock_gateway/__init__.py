"""Penstock's edge: REST in, Open Inference Protocol gRPC out."""
