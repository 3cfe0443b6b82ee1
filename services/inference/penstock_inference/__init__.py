"""Penstock's pods: the Open Inference Protocol v2 over gRPC, around PyTorch. Knows no HTTP, keys or tenants."""
