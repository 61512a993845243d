"""Pure matching: a change, the topics and the subscriptions in; the matches out."""
