"""Services that one command adds: where each one's weights come from, and how they become an artifact."""
