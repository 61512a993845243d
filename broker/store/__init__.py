"""Redis streams, one script per state change; nothing else speaks to Redis."""
