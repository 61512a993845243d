"""A filter for every search parameter of the convertible types, on resources of
`cross_release_documents.py`.

A row of `ROWS` is: search parameter, document, value in R4 and R4B, value in R5, who sees it. `-` stands for
a release that does not have the parameter. `all`: every subscriber sees the value, whatever release the
resource came in by. `own`: only subscribers of the producer's kind of release (R4 and R4B are one kind) see
it, because the other has no place for it. `down`: subscribers of R4 and R4B see it in every resource, those
of R5 in resources of R5.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """A filter on one search parameter, and who sees it."""

    resource_type: str
    parameter: str
    document: str
    r4: str | None
    r5: str | None
    seen_by: str


REFUSED = frozenset(
    {
        ("Patient", "phonetic"),
        ("Practitioner", "phonetic"),
        ("Device", "code-value-concept"),
        ("Observation", "value-canonical"),
        ("Observation", "component-value-canonical"),
    }
)
"""Parameters that registration refuses in every release: nothing can be found by them."""

_TABLE = """
Device identifier device urn:numbers|d1 urn:numbers|d1 all
Device biological-source-event device - DI1 all
Device code device - class-2 own
Device definition device - DeviceDefinition/d all
Device device-name device Pump Pump all
Device expiration-date device - 2030-01-02 all
Device location device Location/l Location/l all
Device lot-number device - L1 all
Device manufacture-date device - 2024-01-02 all
Device manufacturer device Acme Acme all
Device model device M1 M1 all
Device organization device Organization/o Organization/o all
Device parent device - Device/whole all
Device patient device Patient/p - own
Device serial-number device - SN1 all
Device specification device - norm all
Device specification-version device - norm$2.0 all
Device status device active active all
Device type device http://codes.example|pump http://codes.example|pump all
Device udi-carrier device (01)udi-1 (01)udi-1 all
Device udi-di device udi-1 udi-1 all
Device url device http://device.example/1 http://device.example/1 all
Device version device - 9.1 all
DeviceMetric category metric measurement measurement all
DeviceMetric device metric - Device/d all
DeviceMetric identifier metric m1 m1 all
DeviceMetric parent metric Device/whole - own
DeviceMetric source metric Device/d - all
DeviceMetric type metric heart-rate heart-rate all
DiagnosticReport based-on report ServiceRequest/s ServiceRequest/s all
DiagnosticReport category report LAB LAB all
DiagnosticReport code report panel panel all
DiagnosticReport conclusion report positive positive all
DiagnosticReport date report 2024-03-10 2024-03-10 all
DiagnosticReport encounter report Encounter/e Encounter/e all
DiagnosticReport identifier report r1 r1 all
DiagnosticReport issued report 2024-03-11 2024-03-11 all
DiagnosticReport media report Media/m DocumentReference/m own
DiagnosticReport patient report Patient/p Patient/p all
DiagnosticReport performer report Organization/o Organization/o all
DiagnosticReport result report Observation/o Observation/o all
DiagnosticReport results-interpreter report Practitioner/i Practitioner/i all
DiagnosticReport specimen report Specimen/s Specimen/s all
DiagnosticReport status report final final all
DiagnosticReport status report_that_changed preliminary modified down
DiagnosticReport study report - ImagingStudy/i all
DiagnosticReport subject report Patient/p Patient/p all
Encounter account stay Account/a Account/a all
Encounter appointment stay Appointment/a Appointment/a all
Encounter based-on stay ServiceRequest/s ServiceRequest/s all
Encounter careteam stay - CareTeam/c own
Encounter class stay http://classes.example|IMP http://classes.example|IMP all
Encounter date stay 2024-03 2024-03 all
Encounter date-start stay - 2024-03-01 all
Encounter diagnosis stay Condition/d - all
Encounter diagnosis-code stay - fracture own
Encounter diagnosis-reference stay - Condition/d all
Encounter end-date stay - 2024-03-02 all
Encounter episode-of-care stay EpisodeOfCare/c EpisodeOfCare/c all
Encounter identifier stay e1 e1 all
Encounter length stay 90 90 all
Encounter location stay Location/ward Location/ward all
Encounter location-period stay 2024-03 2024-03 all
Encounter part-of stay Encounter/stay Encounter/stay all
Encounter participant stay Practitioner/d Practitioner/d all
Encounter participant-type stay ATND ATND all
Encounter patient stay Patient/p Patient/p all
Encounter practitioner stay Practitioner/d Practitioner/d all
Encounter reason-code stay pain pain all
Encounter reason-reference stay Condition/r Condition/r all
Encounter service-provider stay Organization/o Organization/o all
Encounter special-arrangement stay wheel wheel all
Encounter status stay finished completed all
Encounter status leave onleave on-hold all
Encounter status arrival in-progress,arrived in-progress all
Encounter subject stay Patient/p Patient/p all
Encounter subject-status stay - departed own
Encounter type stay surgery surgery all
Observation based-on rate CarePlan/c CarePlan/c all
Observation category rate vital-signs vital-signs all
Observation code rate http://loinc.org|8867-4 http://loinc.org|8867-4 all
Observation code-value-concept kind 8867-4$yes 8867-4$yes all
Observation code-value-date time 8867-4$2024-02-03 8867-4$2024-02-03 all
Observation code-value-quantity rate 8867-4$91 8867-4$91 all
Observation code-value-string text 8867-4$clear 8867-4$clear all
Observation combo-code rate systolic systolic all
Observation combo-code-value-concept rate position$sitting position$sitting all
Observation combo-code-value-quantity rate systolic$142 systolic$142 all
Observation combo-data-absent-reason rate error error all
Observation combo-value-concept kind sitting yes all
Observation combo-value-quantity rate 142 91 all
Observation component-code rate systolic systolic all
Observation component-code-value-concept rate position$sitting position$sitting all
Observation component-code-value-quantity rate systolic$142 systolic$142 all
Observation component-data-absent-reason rate error error all
Observation component-value-concept rate sitting sitting all
Observation component-value-quantity rate 142||mm[Hg] 142||mm[Hg] all
Observation component-value-reference component_pointer - MolecularSequence/v own
Observation data-absent-reason absent unknown unknown all
Observation date rate 2024-03-10 2024-03-10 all
Observation derived-from rate DocumentReference/d DocumentReference/d all
Observation device rate DeviceMetric/m DeviceMetric/m all
Observation encounter rate Encounter/e Encounter/e all
Observation focus rate Device/f Device/f all
Observation has-member rate Observation/part Observation/part all
Observation identifier rate o1 o1 all
Observation method rate oximetry oximetry all
Observation part-of rate Procedure/p Procedure/p all
Observation patient rate Patient/p Patient/p all
Observation performer rate Practitioner/d Practitioner/d all
Observation specimen rate Specimen/s Specimen/s all
Observation status rate final final all
Observation subject rate Patient/p Patient/p all
Observation value-concept kind yes yes all
Observation value-date time 2024-02-03 2024-02-03 all
Observation value-markdown kind - jawohl all
Observation value-quantity rate 91||/min 91||/min all
Observation value-reference pointer - MolecularSequence/v own
Observation value-string text clear clear all
Patient active patient true true all
Patient address patient Bonn Bonn all
Patient address-city patient Bonn Bonn all
Patient address-country patient DE DE all
Patient address-postalcode patient 53111 53111 all
Patient address-state patient NW NW all
Patient address-use patient home home all
Patient birthdate patient 1980-05-01 1980-05-01 all
Patient death-date patient 2024-01-02 2024-01-02 all
Patient deceased patient true true all
Patient email patient ana@example.org ana@example.org all
Patient family patient Meyer Meyer all
Patient gender patient female female all
Patient general-practitioner patient Practitioner/g Practitioner/g all
Patient given patient Ana Ana all
Patient identifier patient p1 p1 all
Patient language patient de de all
Patient link patient RelatedPerson/r RelatedPerson/r all
Patient name patient Meyer Meyer all
Patient organization patient Organization/o Organization/o all
Patient phone patient 555-1 555-1 all
Patient telecom patient 555-1 555-1 all
Practitioner active practitioner true true all
Practitioner address practitioner Bonn Bonn all
Practitioner address-city practitioner Bonn Bonn all
Practitioner address-country practitioner DE DE all
Practitioner address-postalcode practitioner 53111 53111 all
Practitioner address-state practitioner NW NW all
Practitioner address-use practitioner home home all
Practitioner communication practitioner de de all
Practitioner death-date practitioner - 2024-01-02 own
Practitioner deceased practitioner - true own
Practitioner email practitioner ana@example.org ana@example.org all
Practitioner family practitioner Meyer Meyer all
Practitioner gender practitioner female female all
Practitioner given practitioner Ana Ana all
Practitioner identifier practitioner n1 n1 all
Practitioner name practitioner Meyer Meyer all
Practitioner phone practitioner 555-1 555-1 all
Practitioner qualification-period practitioner - 2024-03 all
Practitioner telecom practitioner 555-1 555-1 all
"""
_EVERY_TYPE = """
_id {0} x x all
_language {0} de de all
_lastUpdated {0} 2024-05-06 2024-05-06 all
_profile {0} http://profiles.example/p http://profiles.example/p all
_security {0} R R all
_source {0} http://source.example/s http://source.example/s all
_tag {0} ward ward all
"""
_ANY_DOCUMENT = {
    "Device": "device",
    "DeviceMetric": "metric",
    "DiagnosticReport": "report",
    "Encounter": "stay",
    "Observation": "rate",
    "Patient": "patient",
    "Practitioner": "practitioner",
}


def _row(line: str) -> Row:
    resource_type, parameter, document, r4, r5, seen_by = line.split(" ")
    return Row(
        resource_type,
        parameter,
        document.replace("_", " "),
        None if r4 == "-" else r4,
        None if r5 == "-" else r5,
        seen_by,
    )


ROWS = [_row(line) for line in _TABLE.strip().splitlines()] + [
    _row(f"{resource_type} {line.format(document)}")
    for resource_type, document in _ANY_DOCUMENT.items()
    for line in _EVERY_TYPE.strip().splitlines()
]
