"""Values and laws; no I/O and nothing but the standard library."""
