"""Who may use `/admin`, and that everything done there is in the audit log, once."""

from typing import Any

import pytest

from tests.webapi.node import Node, Person
from tests.webapi.office import Office, code_of, open_office, report, said, some_id
from tests.webapi.test_auth_middleware import path_of
from webapi.app import ROUTES
from webapi.routing import Access

ADMIN_ROUTES = [(route.method, route.path) for route in ROUTES if route.access is Access.ADMIN]


async def test_every_path_of_admins_is_an_admins() -> None:
    """One that was forgotten would be open to everybody."""
    assert {route.path for route in ROUTES if route.path.startswith("/admin")} == {path for _, path in ADMIN_ROUTES}


@pytest.mark.parametrize(("method", "template"), ADMIN_ROUTES)
async def test_everybody_else_hears_the_same_from_all_of_them(node: Node, method: str, template: str) -> None:
    office = await open_office(node, None)
    anna = await node.person("anna")
    refused = await anna.client.request(method, path_of(template))
    assert code_of(refused) == (403, "FORBIDDEN")
    assert refused.json()["error"] == {"code": "FORBIDDEN", "message": "Not permitted", "details": {}}
    await office.grant(office.admin, is_admin=False)
    assert code_of(await office.admin.client.request(method, path_of(template))) == (403, "FORBIDDEN")
    async with node.client() as nobody:
        assert code_of(await nobody.request(method, path_of(template))) == (401, "MISSING_AUTH_HEADER")


@pytest.mark.parametrize(("method", "template"), ADMIN_ROUTES)
async def test_a_suspended_admin_is_none(node: Node, method: str, template: str) -> None:
    """He lost the right first, or nobody could have suspended him; his token opens nothing at all."""
    office = await open_office(node, None)
    other = await node.person("other")
    await office.grant(other)
    assert code_of(await office.admin.client.post(f"/admin/users/{other.id}/suspend", json={"reason": "x"})) == (
        403, "FORBIDDEN",
    )  # fmt: skip
    await office.grant(other, is_admin=False)
    await office.suspend(other)
    await office.grant(other)
    assert code_of(await other.client.request(method, path_of(template))) == (401, "INVALID_TOKEN")


async def test_what_is_no_route_is_none_for_admins_and_others(node: Node) -> None:
    office = await open_office(node, None)
    anna = await node.person("anna")
    for client in (office.admin.client, anna.client):
        assert code_of(await client.get("/admin")) == (404, "ROUTE_NOT_FOUND")
        assert code_of(await client.get("/admin/users/anna")) == (404, "ROUTE_NOT_FOUND")
        assert code_of(await client.delete("/admin/users")) == (405, "METHOD_NOT_ALLOWED")


async def test_the_right_is_never_remembered(any_node: Node, url: str | None) -> None:
    """Not for the minute for which limits are."""
    office = await open_office(any_node, url)
    for is_admin, status in ((True, 200), (False, 403), (True, 200)):
        await office.grant(office.admin, is_admin=is_admin)
        assert (await office.admin.client.get("/admin/users")).status_code == status


async def test_each_deed_is_one_row_of_the_log(any_node: Node, url: str | None) -> None:
    """Whoever adds a route of admins that changes something adds it here."""
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    called: set[str] = set()
    _, first = await said(ben, anna)
    _, second = await said(ben, anna, "and again")
    reports = [
        (await report(anna, "user", ben.id)).json()["id"],
        (await report(anna, "message", second)).json()["id"],
        (await report(office.admin, "user", ben.id)).json()["id"],
        (await report(office.admin, "user", anna.id)).json()["id"],
    ]

    async def deed(route: str, path: str, body: dict[str, Any] | None, action: str, target: str) -> dict[str, Any]:
        called.add(route)
        before = {row["id"] for row in await office.log()}
        any_node.clock.seconds += 1
        method = route.partition(" ")[0]
        headers = {"X-Request-Id": "req_of-this-deed"}
        answer = await office.admin.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        [row] = [row for row in await office.log() if row["id"] not in before]
        assert (row["actor"], row["admin_id"], row["action"], row["target_id"]) == (
            "admin", office.admin.id, action, target,
        ), row  # fmt: skip
        assert (row["request_id"], row["address"]) == ("req_of-this-deed", office.admin.address)
        assert row["reason"] == (body or {}).get("reason", (body or {}).get("note"))
        return row

    users, decided = f"/admin/users/{ben.id}", "POST /admin/reports/{report_id}/decide"
    await deed("GET /admin/users/{user_id}", users, None, "view_user", ben.id)
    reason = {"reason": "because"}
    await deed("POST /admin/users/{user_id}/sign-out", f"{users}/sign-out", reason, "sign_out_user", ben.id)
    await deed("POST /admin/users/{user_id}/suspend", f"{users}/suspend", reason, "suspend_user", ben.id)
    await deed("POST /admin/users/{user_id}/restore", f"{users}/restore", reason, "restore_user", ben.id)
    wiped = await deed(
        "DELETE /admin/messages/{message_id}", f"/admin/messages/{first}", reason, "delete_message", first
    )
    assert (wiped["target_kind"], wiped["user_id"]) == ("message", ben.id)
    verdicts = (
        (reports[0], "warn", "warn_user", ben.id),
        (reports[1], "remove_content", "delete_message", second),
        (reports[2], "suspend_user", "suspend_user", ben.id),
        (reports[3], "dismiss", "dismiss_report", reports[3]),
    )
    for id, decision, action, target in verdicts:
        row = await deed(decided, f"/admin/reports/{id}/decide", {"decision": decision, "note": "seen"}, action, target)
        assert row["report_id"] == id
    for ruling, action in (("uphold", "uphold_appeal"), ("grant", "grant_appeal")):
        appeal = await _appeal(office, ben)
        body = {"decision": ruling, "note": "heard"}
        path = f"/admin/appeals/{appeal}/decide"
        row = await deed("POST /admin/appeals/{appeal_id}/decide", path, body, action, appeal)
        assert row["user_id"] == ben.id
    changing = {f"{method} {path}" for method, path in ADMIN_ROUTES if method != "GET"}
    assert called == changing | {"GET /admin/users/{user_id}"}, "a route of admins that is not in this test"
    quiet = len(await office.log())
    for path in ("/admin/users", "/admin/reports", f"/admin/reports/{reports[0]}", "/admin/appeals", "/admin/audit"):
        await office.do("GET", path)
    assert len(await office.log()) == quiet, "to read lists is not noted"


async def _appeal(office: Office, person: Person) -> str:
    token = (await office.sign_in(person)).json()["error"]["details"]["appeal_token"]
    async with office.node.client(address=person.address) as client:
        answer = await client.post("/appeals", json={"appeal_token": token, "text": "I did not"})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


async def test_what_failed_is_no_deed(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    before = await office.log()
    for path, body, status, code in (
        (f"/admin/users/{some_id()}/suspend", {"reason": "x"}, 404, "USER_NOT_FOUND"),
        (f"/admin/users/{some_id()}/restore", None, 404, "USER_NOT_FOUND"),
        (f"/admin/users/{some_id()}/sign-out", None, 404, "USER_NOT_FOUND"),
        (f"/admin/users/{office.admin.id}/suspend", {"reason": "x"}, 403, "FORBIDDEN"),
        (f"/admin/users/{anna.id}/suspend", {"reason": " "}, 400, "INVALID_PAYLOAD"),
        (f"/admin/users/{anna.id}/suspend", {"reason": "x" * 1_001}, 400, "CONTENT_TOO_LONG"),
        (f"/admin/users/{anna.id}/suspend", {"reason": "x", "until": "tomorrow"}, 400, "INVALID_PAYLOAD"),
        (f"/admin/users/{anna.id}/suspend", {"reason": "x", "until": "2026-12-01T00:00:00"}, 400, "INVALID_PAYLOAD"),
        (f"/admin/users/{anna.id}/suspend", {"reason": "x", "until": "2001-01-01T00:00:00Z"}, 400, "INVALID_PAYLOAD"),
        (
            f"/admin/users/{anna.id}/suspend",
            {"reason": "x", "until": "9999-12-31T23:00:00-12:00"},
            400,
            "INVALID_PAYLOAD",
        ),
        (f"/admin/reports/{some_id()}/decide", {"decision": "dismiss", "note": "x"}, 404, "CONTENT_NOT_FOUND"),
        (f"/admin/appeals/{some_id()}/decide", {"decision": "grant", "note": "x"}, 404, "CONTENT_NOT_FOUND"),
    ):
        answer = await office.admin.client.post(path, json=body)
        assert code_of(answer) == (status, code), (path, body)
    half = await office.admin.client.post(
        f"/admin/users/{anna.id}/suspend",
        content=b'{"reason": "\\ud800"}',
        headers={"Content-Type": "application/json"},
    )
    assert code_of(half) == (400, "INVALID_PAYLOAD"), "half a character"
    gone = await office.admin.client.delete(f"/admin/messages/{some_id()}")
    assert code_of(gone) == (404, "MESSAGE_NOT_FOUND")
    assert code_of(await office.admin.client.get(f"/admin/users/{some_id()}")) == (404, "USER_NOT_FOUND")
    assert await office.log() == before
    assert (await anna.client.get("/users/me")).status_code == 200
