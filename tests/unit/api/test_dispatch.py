"""The interaction table: the row that a request finds, its 404 and 405, and the access check."""

from typing import Any

import pytest
from starlette.datastructures import QueryParams

from broker.api.dispatch import Interaction, InteractionTable
from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Forbidden, NotFound
from broker.model.access import Access
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import parse_scopes

READ = Access(scope="system/{type}.r")


def answering(text: str) -> Any:
    async def handler(request: FhirRequest) -> FhirResponse:
        return FhirResponse(body=f"{text} {dict(request.params)}".encode())

    return handler


TABLE = InteractionTable(
    lambda _table: [
        Interaction("GET", "metadata", answering("metadata"), Access.PUBLIC),
        Interaction("GET", "Basic/{id}", answering("topic"), READ, only=lambda r: r.params["id"] == "topic"),
        Interaction("POST", "{type}", answering("create"), Access(scope="system/{type}.c")),
        Interaction("GET", "{type}", answering("search"), READ, is_refusal=True),
        Interaction("GET", "{type}/{id}", answering("read"), READ),
        Interaction("POST", "{type}/{id}/$check", answering("check"), READ, type_of=lambda _: "Patient"),
    ]
)


def request(method: str, path: str, principal: Principal = OPEN_PRINCIPAL) -> FhirRequest:
    return FhirRequest(principal, Release.R4, "http://b", method, path, {}, QueryParams(), {}, Resource(b""))


def limited(*scopes: str) -> Principal:
    return Principal("limited", DEFAULT_TENANT, parse_scopes(" ".join(scopes)), frozenset())


async def answer(method: str, path: str, principal: Principal = OPEN_PRINCIPAL) -> str:
    return (await TABLE.dispatch(request(method, path, principal))).body.decode()


async def test_the_first_row_that_fits_answers_with_the_variables_of_its_path() -> None:
    assert await answer("GET", "metadata") == "metadata {}"
    assert await answer("GET", "Basic/topic") == "topic {'id': 'topic'}"
    assert await answer("GET", "Basic/other") == "read {'type': 'Basic', 'id': 'other'}"


async def test_an_operation_is_never_a_type_or_an_id() -> None:
    with pytest.raises(NotFound):
        await answer("GET", "Patient/$unknown")


async def test_an_unknown_type_is_404_and_a_literal_path_405() -> None:
    with pytest.raises(NotFound, match="Sandwich"):
        await answer("POST", "Sandwich")
    response = await TABLE.dispatch(request("POST", "metadata"))
    assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_the_allow_header_leaves_out_refusals_and_the_method_itself() -> None:
    response = await TABLE.dispatch(request("PUT", "Patient"))
    assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_access_is_checked_for_the_type_of_the_request_before_the_handler_runs() -> None:
    assert "read" in await answer("GET", "Patient/1", limited("system/Patient.r"))
    with pytest.raises(Forbidden, match=r"system/Device\.r"):
        await answer("GET", "Device/1", limited("system/Patient.r"))
    assert "metadata" in await answer("GET", "metadata", limited())
    assert "check" in await answer("POST", "Device/1/$check", limited("system/Patient.r"))
