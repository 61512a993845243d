"""A mapping whose readings are merged by hour, by day and by session, and payloads for it."""

from typing import Any

MERGING = """
name: strap
match: kind == 'strap'
select: readings
device: {identifier: {system: 'http://example.org/devices', value: payload().id}, policy: create}
patient: {identifier: {system: 'http://example.org/patients', value: payload().id}, policy: create}
time: {value: at}
correction: {value: correction}
observations:
  - name: pulse
    code: [{system: loinc, code: 8867-4}]
    title: Heart rate
    sampled-data: {samples: hr, period: 60000}
    quantity: {unit: /min}
    merge: hour
  - {name: weight, type: body-weight, value: kg, unit: kg, merge: day}
  - name: pressure
    type: blood-pressure
    merge: {by: session}
    components:
      - {name: systolic, type: systolic, value: sys, unit: mmHg}
      - {name: diastolic, type: diastolic, value: dia, unit: mmHg}
"""


def payload(*readings: dict[str, Any], device: str = "s-1") -> dict[str, Any]:
    return {"kind": "strap", "id": device, "readings": list(readings)}


def pulse(minute: int, hr: object, second: int = 0, **more: Any) -> dict[str, Any]:
    return {"at": f"2026-03-02T08:{minute:02}:{second:02}Z", "hr": hr, **more}
