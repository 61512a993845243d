"""Simulated devices: what their sensors measure, what goes wrong on the way, and how they say it.

The same seed gives the same readings. `devices.py` has the people and their devices, `physiology.py` the
values, `disturbances.py` the faults, `payloads.py` what is sent.
"""

from broker.testing.simulation.devices import Device, Kind, Sample, devices, samples
from broker.testing.simulation.disturbances import Disturbances, Emission, Fault, disturbed
from broker.testing.simulation.payloads import observation_of, payload_of

__all__ = [
    "Device",
    "Disturbances",
    "Emission",
    "Fault",
    "Kind",
    "Sample",
    "devices",
    "disturbed",
    "observation_of",
    "payload_of",
    "samples",
]
