"""Log lines without secrets, and metrics. Every layer above reports through it."""
