"""For people who integrate with the broker: a subscriber that records, a gateway that sends, and readings to send."""
