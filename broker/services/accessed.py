"""The versions that a response shows, as the audit trail names them."""

from broker.fhir.references import patient_reference
from broker.model.audit import AuditEntity
from broker.model.change import Version, VersionKey
from broker.model.resource import Resource


def entity_of(version: Version) -> AuditEntity:
    """A stored version, with its patient."""
    return entity_of_version(version.key, version.resource)


def entity_of_version(key: VersionKey, resource: Resource | None) -> AuditEntity:
    """A version by its key; without a resource the patient is unknown."""
    patient = patient_reference(resource) if resource is not None else None
    return AuditEntity(key.type, key.id, key.version, patient or "")
