"""Penstock's pods: models behind the Open Inference Protocol v2 over gRPC. This service knows no HTTP, keys or tenants."""
