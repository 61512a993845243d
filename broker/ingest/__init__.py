"""What comes in: validated, deduplicated, and appended durably before anyone is told yes."""
