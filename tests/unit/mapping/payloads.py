"""A mapping for tests, with the parts that a test gives."""

from datetime import UTC, datetime
from typing import Any

from broker.mapping.compiling import compile_mapping
from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.reading import MappedReading, ReadingProblem

RECEIVED = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
HEAD = """
name: device
match: kind == 'device'
device: {identifier: {system: 'http://example.org/devices', value: id}}
"""
HEART_RATE = """
observations:
  - {name: heart-rate, type: heart-rate, value: hr, unit: bpm}
"""

ENTRIES = """
observations:
  - name: blood-pressure
    type: blood-pressure
    group: GROUP
    components:
      - {name: systolic, type: systolic, when: code == 'sys', value: v, unit: mmHg}
      - {name: diastolic, type: diastolic, when: code == 'dia', value: v, unit: mmHg}
  - {name: pulse, type: heart-rate, when: code == 'hr', value: v, unit: bpm}
"""
SELECT = HEAD.replace("value: id}", "value: payload().id}") + "select: entries\n"
TIME = "time: {value: at}"


def mapping(observations: str = HEART_RATE, head: str = HEAD, time: str = "time: received") -> DeviceMapping:
    return compile_mapping("device.yaml", f"{head}{time}\n{observations}")


def results(
    payload: dict[str, Any], observations: str = HEART_RATE, **parts: str
) -> list[MappedReading | ReadingProblem]:
    return mapping(observations, **parts).map({"id": "d-1", **payload}, RECEIVED)


def reading(payload: dict[str, Any], observations: str = HEART_RATE, **parts: str) -> MappedReading:
    """The only reading of the payload."""
    (result,) = results(payload, observations, **parts)
    assert isinstance(result, MappedReading), result
    return result


def problem(payload: dict[str, Any], observations: str = HEART_RATE, **parts: str) -> ReadingProblem:
    """The only problem of the payload."""
    (result,) = results(payload, observations, **parts)
    assert isinstance(result, ReadingProblem), result
    return result
