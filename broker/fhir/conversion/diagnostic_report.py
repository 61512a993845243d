"""Rules for DiagnosticReport: R5 renamed imagingStudy to study and added elements."""

from broker.fhir.conversion.type_rules import CodeRule, TypeRules, code_map, only_in_r5, renamed

_R4_STATUS = frozenset(
    {
        *("registered", "partial", "preliminary", "final", "amended", "corrected", "appended"),
        *("cancelled", "entered-in-error", "unknown"),
    }
)

TYPE_RULES = (
    TypeRules(
        "DiagnosticReport",
        "DiagnosticReport",
        (
            CodeRule("status", code_map({}), code_map({"modified": "preliminary"}, _R4_STATUS)),
            renamed("imagingStudy", "study", "Reference*"),
            *only_in_r5(
                "note:Annotation* supportingInfo:DiagnosticReport.supportingInfo* composition:Reference"
            ),
        ),
    ),
    TypeRules("DiagnosticReport.media", "DiagnosticReport.media"),
)
