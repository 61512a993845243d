"""Where readings come from besides HTTP and the inbox stream: servers to which the broker connects."""
