"""Readings of devices: decode, map, identify, check the time, store as Observations, quarantine what fails.

`intake.ReadingIntake` is the way in for HTTP, the inbox stream and MQTT.
"""
