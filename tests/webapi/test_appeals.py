"""Appeals, of who is signed in and of who cannot sign in any more."""

from typing import Any

from tests.webapi.node import Node, Person
from tests.webapi.office import Office, code_of, open_office, report, some_id


async def appeal_token(office: Office, person: Person) -> str:
    token: str = (await office.sign_in(person)).json()["error"]["details"]["appeal_token"]
    return token


async def appeal(office: Office, **body: Any) -> Any:
    async with office.node.client() as client:
        return await client.post("/appeals", json={"text": "I did not"} | body)


async def test_a_suspended_user_appeals_and_is_let_in_again(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    token = await appeal_token(office, anna)
    filed = await appeal(office, appeal_token=token)
    assert filed.status_code == 201, filed.text
    assert (filed.json()["user_id"], filed.json()["status"], filed.json()["note"]) == (anna.id, "open", None)
    assert "decided_by" not in filed.json()
    again = await appeal(office, appeal_token=await appeal_token(office, anna), text="really not")
    assert (again.status_code, again.json()) == (200, filed.json()), "one is open"
    [waiting] = (await office.do("GET", "/admin/appeals"))["items"]
    assert (waiting["id"], waiting["text"]) == (filed.json()["id"], "I did not")
    path = f"/admin/appeals/{waiting['id']}/decide"
    granted = await office.do("POST", path, {"decision": "grant", "note": "you did not"})
    assert (granted["status"], granted["decided_by"]) == ("granted", office.admin.id)
    assert code_of(await office.admin.client.post(path, json={"decision": "uphold", "note": "x"})) == (
        409, "IDEMPOTENCY_CONFLICT",
    )  # fmt: skip
    signed_in = await office.sign_in(anna)
    assert signed_in.status_code == 200
    async with any_node.client(signed_in.json()["access_token"]) as client:
        [mine] = (await client.get("/appeals")).json()["items"]
        assert (mine["status"], mine["note"], "decided_by" in mine) == ("granted", "you did not", False)
        [measure] = (await client.get("/measures")).json()["items"]
        assert (measure["action"], measure["appeal"]) == ("suspend_user", "granted")
    assert (await office.do("GET", "/admin/appeals"))["items"] == []
    assert code_of(await appeal(office, appeal_token=token)) == (409, "IDEMPOTENCY_CONFLICT")


async def test_an_upheld_appeal_leaves_him_outside(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    id = (await appeal(office, appeal_token=await appeal_token(office, anna))).json()["id"]
    upheld = await office.do("POST", f"/admin/appeals/{id}/decide", {"decision": "uphold", "note": "you did"})
    assert upheld["status"] == "upheld"
    assert code_of(await office.sign_in(anna)) == (403, "FORBIDDEN")
    assert (await appeal(office, appeal_token=await appeal_token(office, anna))).status_code == 201
    assert [one["id"] for one in (await office.do("GET", "/admin/appeals?status=upheld"))["items"]] == [id]
    assert code_of(await office.admin.client.get("/admin/appeals?status=lost")) == (400, "INVALID_QUERY")


async def test_a_token_is_for_nothing_else_and_not_for_long(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    token = await appeal_token(office, anna)
    async with any_node.client(token) as client:
        assert code_of(await client.get("/users/me")) == (401, "INVALID_TOKEN")
        assert code_of(await client.post("/appeals", json={"text": "x"})) == (401, "INVALID_TOKEN")
        assert code_of(await client.post("/auth/refresh", json={"refresh_token": token})) == (401, "INVALID_TOKEN")
    for forged in (token[:-2], token[:-4] + "AAAA", "", "a" * 5_000, anna.token, anna.refresh_token, "é"):
        assert code_of(await appeal(office, appeal_token=forged)) == (401, "INVALID_TOKEN"), forged
    any_node.clock.seconds += 3_600
    assert code_of(await appeal(office, appeal_token=token)) == (401, "TOKEN_EXPIRED")


async def test_who_was_warned_appeals_signed_in(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    id = (await report(anna, "user", ben.id)).json()["id"]
    await office.do("POST", f"/admin/reports/{id}/decide", {"decision": "warn", "note": "be kind"})
    for who, body, expected in (
        (ben, {"report_id": some_id()}, (404, "CONTENT_NOT_FOUND")),
        (ben, {"measure_id": some_id()}, (404, "CONTENT_NOT_FOUND")),
        (ben, {"report_id": "x"}, (400, "INVALID_PAYLOAD")),
        (ben, {"text": "x" * 2_001}, (400, "CONTENT_TOO_LONG")),
        (ben, {"text": ""}, (400, "INVALID_PAYLOAD")),
        (anna, {"report_id": id}, (404, "CONTENT_NOT_FOUND")),
        (anna, {}, (404, "CONTENT_NOT_FOUND")),
    ):
        answer = await who.client.post("/appeals", json={"text": "I was"} | body)
        assert code_of(answer) == expected, body
    filed = await ben.client.post("/appeals", json={"text": "I was", "report_id": id})
    assert filed.status_code == 201, filed.text
    [mine] = (await ben.client.get("/appeals")).json()["items"]
    assert mine["id"] == filed.json()["id"]
    await office.do("POST", f"/admin/appeals/{mine['id']}/decide", {"decision": "grant", "note": "you were"})
    [measure] = (await ben.client.get("/measures")).json()["items"]
    assert (measure["action"], measure["appeal"]) == ("warn_user", "granted")


async def test_an_idempotency_key_files_one_appeal(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    headers = {"Idempotency-Key": "once"}
    async with any_node.client() as client:
        answers = [
            await client.post(
                "/appeals", json={"text": "no", "appeal_token": await appeal_token(office, anna)}, headers=headers
            )
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


async def test_nobody_appeals_without_showing_who_he_is(node: Node) -> None:
    office = await open_office(node, None)
    assert code_of(await appeal(office)) == (401, "MISSING_AUTH_HEADER")
    anna = await node.person("anna")
    await office.suspend(anna)
    assert code_of(await anna.client.post("/appeals", json={"text": "x"})) == (401, "INVALID_TOKEN")


async def test_appeals_pay_from_the_bucket_of_reports(node: Node) -> None:
    await open_office(node, None)
    anna = await node.person("anna")
    for _ in range(30):
        assert (await anna.client.post("/appeals", json={"text": "x"})).status_code == 404
    assert code_of(await anna.client.post("/appeals", json={"text": "x"})) == (429, "RATE_LIMIT_EXCEEDED")
