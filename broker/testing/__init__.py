"""For integrators: a subscriber that records notifications, a gateway that sends resources, and simulated
readings.

It works against any broker over HTTP and uses no other part of this one. The commands `demo`, `listen` and
`simulate` use it.
"""
