"""The way in for changes: decode, validate, plan the id, append durably."""
