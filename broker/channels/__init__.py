"""The ways to reach a subscriber: one module a channel type, all behind `base.Channel`."""
