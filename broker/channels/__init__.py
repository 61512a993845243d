"""How a notification reaches a subscriber: one module a channel, all behind `base.Channel`."""
