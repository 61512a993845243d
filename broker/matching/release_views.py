"""A resource as another release shows it, for filters and triggers that are written in that release.

A subscriber reads notifications in its own release, so its filters are judged on the resource as it is in
that release: converted, if the type converts. A resource that has no conversion keeps its own release.
Matchers and triggers call `state_in`; nothing is converted for a change that everybody sees in its own
release.
"""

from decimal import Decimal
from typing import Any

import msgspec

from broker.fhir.conversion import can_convert, convert
from broker.matching.problems import READ_ERRORS
from broker.matching.states import State
from broker.model.release import Release
from broker.model.resource import Resource

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def state_in(state: State, resource_type: str, source: Release, target: Release) -> tuple[Release, State]:
    """The state in the target release; the state as it is, with its own release, if it has no conversion.

    A contained resource without a conversion stays as it is and does not keep the resource from being
    converted. Never raises.
    """
    if source is target or state is None or not can_convert(resource_type, source, target):
        return source, state
    if Release.R5 not in {source, target}:
        return target, state  # between R4 and R4B nothing that a search parameter reads changes its name
    try:
        converted = _converted(state, resource_type, source, target)
    except READ_ERRORS:
        return source, state  # it is not as FHIR defines it
    return (source, state) if converted is None else (target, converted)


def _converted(
    state: dict[str, Any], resource_type: str, source: Release, target: Release
) -> dict[str, Any] | None:
    resource = convert(Resource(_encoder.encode(state)), resource_type, source, target)
    if resource is not None:
        return _decoder.decode(resource.text)
    if "contained" not in state:
        return None
    container = {name: value for name, value in state.items() if name != "contained"}
    resource = convert(Resource(_encoder.encode(container)), resource_type, source, target)
    if resource is None:
        return None
    return {**_decoder.decode(resource.text), "contained": state["contained"]}
