"""What the broker tells about itself: log lines without secrets, and metrics."""
