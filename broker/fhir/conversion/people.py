"""Patient, which is alike everywhere but for its photos, and Practitioner, whose languages became elements of their own."""

from broker.fhir.conversion.rules import Kind, Node, Rule, added, fields


def _spoken(given: Node) -> Node:
    found = [{"language": language} for language in given.get("communication", [])]
    return {"communication": found} if found else {}


def _languages(given: Node) -> Node:
    spoken = [one for one in given.get("communication", []) if "modifierExtension" not in one]
    found = [one["language"] for one in spoken if "language" in one]
    return {"communication": found} if found else {}


KINDS = (
    Kind("Patient", "Patient"),
    Kind(
        "Practitioner",
        "Practitioner",
        (
            Rule(
                fields("communication:CodeableConcept*"),
                fields("communication:Practitioner.communication*"),
                _spoken,
                _languages,
            ),
            *added("deceased[x]:boolean|dateTime"),
        ),
    ),
)
