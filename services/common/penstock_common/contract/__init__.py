"""The Open Inference Protocol v2 over gRPC: ``inference.proto`` and what is generated from it."""
