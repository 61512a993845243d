"""Intake: the validator refuses or warns, and an admission has the stored resource and the warnings."""

import pytest

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.validation import StructureValidator
from broker.ingest.requests import ChangeRequest
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from tests.unit.ingest.intake_fixture import AppendedChanges, Issues, create, running_intake

WARNING = Issue("business-rule", "no performer", "Patient.generalPractitioner", severity="warning")
HINT = Issue("informational", "a display would help", severity="information")
ERROR = Issue("required", "a name is missing", "Patient.name")


async def test_warnings_accompany_the_acceptance() -> None:
    appended = AppendedChanges()
    async with running_intake(appended, Issues(WARNING, HINT)) as intake:
        admission = await intake.admit(create())
    assert admission.warnings == (WARNING, HINT)
    assert admission.accepted is not None
    assert len(appended.proposals) == 1


async def test_an_error_refuses_the_change_with_all_issues() -> None:
    appended = AppendedChanges()
    async with running_intake(appended, Issues(WARNING, ERROR)) as intake:
        with pytest.raises(Unprocessable) as caught:
            await intake.admit(create())
    assert caught.value.issues == (WARNING, ERROR)
    assert appended.proposals == []


async def test_the_stored_resource_is_the_text_with_id_version_and_time() -> None:
    appended = AppendedChanges()
    async with running_intake(appended, StructureValidator()) as intake:
        admission = await intake.admit(create(b'{"resourceType":"Patient","multipleBirthInteger":2}'))
    assert admission.stored is not None
    assert admission.accepted is not None
    assert admission.warnings == ()
    assert admission.stored.text == (
        b'{"resourceType":"Patient","id":"%s","meta":{"versionId":"1",'
        b'"lastUpdated":"1970-01-01T00:00:00.000Z"},"multipleBirthInteger":2}'
        % admission.accepted.key.id.encode()
    )


async def test_the_structure_validator_refuses_an_invalid_resource_and_a_text_that_is_not_json() -> None:
    async with running_intake(AppendedChanges(), StructureValidator()) as intake:
        with pytest.raises(Unprocessable) as caught:
            await intake.admit(create(b'{"resourceType":"Patient","gender":"cat"}'))
        assert caught.value.issues[0].expression == "Patient.gender"
        with pytest.raises(Malformed):
            await intake.admit(create(b"{"))


async def test_a_delete_is_not_validated() -> None:
    appended = AppendedChanges()
    async with running_intake(appended, Issues(ERROR)) as intake:
        admission = await intake.admit(ChangeRequest(DEFAULT_TENANT, Release.R4, "delete", "Patient", id="p"))
    assert admission.request.resource is None
    assert appended.proposals[0].tail == b""


@pytest.mark.parametrize(
    ("text", "code"),
    [(b'{"resourceType":"Patient"}', "required"), (b'{"resourceType":"Patient","id":"q"}', "invalid")],
)
async def test_an_update_needs_the_id_of_the_url_in_its_body(text: bytes, code: str) -> None:
    request = create(text)._replace(op="put", id="p")
    async with running_intake(AppendedChanges(), Issues()) as intake:
        with pytest.raises(Malformed) as caught:
            await intake.admit(request)
    assert (caught.value.issues[0].code, caught.value.issues[0].expression) == (code, "Patient.id")


async def test_requests_with_the_same_key_have_the_same_id_and_another_digest_for_another_body() -> None:
    appended = AppendedChanges()
    first = create(b'{"resourceType":"Patient","active":true}')._replace(idempotency_key="key:k")
    second = first._replace(resource=Resource(b'{"resourceType":"Patient","active":false}'))
    async with running_intake(appended, Issues()) as intake:
        for request in (first, first, second):
            await intake.admit(request)
    digests = [proposal.digest for proposal in appended.proposals]
    assert digests[0] == digests[1] != digests[2]
