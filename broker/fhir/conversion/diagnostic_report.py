"""DiagnosticReport: imagingStudy became study, and R5 added what a report can say besides its results."""

from broker.fhir.conversion.rules import Codes, Kind, added, recoded, renamed

_OLD_STATUS = frozenset(
    {
        *("registered", "partial", "preliminary", "final", "amended", "corrected", "appended"),
        *("cancelled", "entered-in-error", "unknown"),
    }
)

KINDS = (
    Kind(
        "DiagnosticReport",
        "DiagnosticReport",
        (
            Codes("status", recoded({}), recoded({"modified": "preliminary"}, _OLD_STATUS)),
            renamed("imagingStudy", "study", "Reference*"),
            *added("note:Annotation* supportingInfo:DiagnosticReport.supportingInfo* composition:Reference"),
        ),
    ),
    Kind("DiagnosticReport.media", "DiagnosticReport.media"),
)
