"""The HTTP edge: bounds, credentials, deadlines, problem documents, disconnects, health."""
