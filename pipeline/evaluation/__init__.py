"""Features, protocols and retrieval metrics."""
