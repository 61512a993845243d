"""Rules for Patient, which changed only in its photos, and Practitioner, whose languages changed."""

from broker.fhir.conversion.type_rules import ElementRule, JsonElement, TypeRules, elements, only_in_r5


def _communications(source: JsonElement) -> JsonElement:
    communications = [{"language": language} for language in source.get("communication", [])]
    return {"communication": communications} if communications else {}


def _languages(source: JsonElement) -> JsonElement:
    plain = [each for each in source.get("communication", []) if "modifierExtension" not in each]
    languages = [each["language"] for each in plain if "language" in each]
    return {"communication": languages} if languages else {}


TYPE_RULES = (
    TypeRules("Patient", "Patient"),
    TypeRules(
        "Practitioner",
        "Practitioner",
        (
            ElementRule(
                elements("communication:CodeableConcept*"),
                elements("communication:Practitioner.communication*"),
                _communications,
                _languages,
            ),
            *only_in_r5("deceased[x]:boolean|dateTime"),
        ),
    ),
)
