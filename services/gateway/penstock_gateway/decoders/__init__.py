"""Large JSON bodies are decoded in a process beside the gateway, so that nobody else waits for them."""
