"""Everything between a claim and its commit: build the notification, send it, decide, store the decision."""
