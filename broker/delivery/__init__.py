"""Everything between a claim and its commit: build the notification, send it, decide, and store the decision."""
