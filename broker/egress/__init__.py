"""The only way out: which addresses may be notified, and the client that sends to them."""
