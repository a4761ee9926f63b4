"""Reporting what one can see, and hearing what became of it."""

import pytest

from tests.webapi.node import Node
from tests.webapi.office import code_of, open_office, report, said, some_id


async def test_a_report_is_filed_and_its_outcome_told(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    filed = await report(anna, "user", ben.id, text="  He sells watches.  ")
    assert filed.status_code == 201
    body = filed.json()
    assert (body["kind"], body["target_id"], body["reason"], body["status"]) == ("user", ben.id, "abuse", "open")
    assert (body["text"], body["decided_at"]) == ("He sells watches.", None)
    await office.do("POST", f"/admin/reports/{body['id']}/decide", {"decision": "dismiss", "note": "so do others"})
    listed = (await anna.client.get("/reports")).json()["items"]
    assert [(one["id"], one["status"]) for one in listed] == [(body["id"], "dismissed")]
    assert "note" not in listed[0]
    assert "decided_by" not in listed[0]
    assert (await ben.client.get("/reports")).json() == {"items": [], "next_cursor": None}


async def test_the_same_again_is_the_first_report(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    first = await report(anna, "user", ben.id)
    again = await report(anna, "user", ben.id.upper(), reason="spam")
    assert (again.status_code, again.json()) == (200, first.json())


async def test_an_idempotency_key_files_one_report(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    body = {"kind": "user", "id": ben.id, "reason": "spam"}
    headers = {"Idempotency-Key": "once"}
    first = await anna.client.post("/reports", json=body, headers=headers)
    again = await anna.client.post("/reports", json=body, headers=headers)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    other = await anna.client.post("/reports", json={**body, "reason": "abuse"}, headers=headers)
    assert code_of(other) == (409, "IDEMPOTENCY_CONFLICT")


async def test_a_message_is_kept_as_its_reader_saw_it(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat, message = await said(ben, anna, "I know where you live")
    filed = await report(anna, "message", message)
    assert filed.status_code == 201, filed.text
    await ben.client.delete(f"/messages/{message}")
    seen = await office.do("GET", f"/admin/reports/{filed.json()['id']}")
    assert (seen["user_id"], seen["reporter_id"]) == (ben.id, anna.id)
    kept = seen["snapshot"]["message"]
    assert (kept["text"], kept["sender_id"], kept["conversation_id"]) == ("I know where you live", ben.id, chat)
    assert list(seen["snapshot"]) == ["message"]


async def test_a_conversation_is_reported_with_what_was_said_last(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat, _ = await said(ben, anna, "buy this")
    filed = await report(anna, "conversation", chat)
    assert filed.status_code == 201, filed.text
    kept = (await office.do("GET", f"/admin/reports/{filed.json()['id']}"))["snapshot"]["conversation"]
    assert [line["text"] for line in kept["messages"]] == ["buy this"]
    assert set(kept["member_ids"]) == {anna.id, ben.id}


async def test_what_the_reporter_cannot_see_does_not_exist(any_node: Node) -> None:
    anna, ben, eve = [await any_node.person(name) for name in ("anna", "ben", "eve")]
    chat, message = await said(anna, ben)
    for kind, id, code in (
        ("message", message, "MESSAGE_NOT_FOUND"),
        ("conversation", chat, "CONVERSATION_NOT_FOUND"),
        ("user", some_id(), "USER_NOT_FOUND"),
    ):
        hidden, missing = await report(eve, kind, id), await report(eve, kind, some_id())
        assert code_of(hidden) == code_of(missing) == (404, code)
        assert hidden.json()["error"] == missing.json()["error"]


async def test_who_is_blocked_is_reported_and_who_blocks_does_not_exist(node: Node) -> None:
    anna, ben = await node.person("anna"), await node.person("ben")
    assert node.tables is not None
    node.tables.blocks.add((anna.id, ben.id))
    assert (await report(anna, "user", ben.id)).status_code == 201
    assert code_of(await report(ben, "user", anna.id)) == (404, "USER_NOT_FOUND")
    node.tables.blocks.add((ben.id, anna.id))
    assert (await report(ben, "user", anna.id)).status_code == 201


@pytest.mark.parametrize("kind", ["story", "post", "comment", "live"])
async def test_kinds_of_later_features_are_not_implemented(node: Node, kind: str) -> None:
    anna = await node.person("anna")
    assert code_of(await report(anna, kind, some_id())) == (501, "NOT_IMPLEMENTED")


async def test_a_report_that_makes_no_sense(node: Node) -> None:
    anna, ben = await node.person("anna"), await node.person("ben")
    _, mine = await said(anna, ben)
    for body, code in (
        ({"kind": "planet", "id": ben.id, "reason": "spam"}, "INVALID_PAYLOAD"),
        ({"kind": "user", "id": ben.id, "reason": "taste"}, "INVALID_PAYLOAD"),
        ({"kind": "user", "id": "ben", "reason": "spam"}, "INVALID_PAYLOAD"),
        ({"kind": "user", "id": ben.id}, "INVALID_PAYLOAD"),
        ({"kind": "user", "id": anna.id, "reason": "spam"}, "INVALID_PAYLOAD"),
        ({"kind": "message", "id": mine, "reason": "spam"}, "INVALID_PAYLOAD"),
        ({"kind": "user", "id": ben.id, "reason": "spam", "text": "x" * 1_001}, "CONTENT_TOO_LONG"),
        ({"kind": "user", "id": ben.id, "reason": "spam", "text": "a\x00b"}, "INVALID_PAYLOAD"),
    ):
        assert code_of(await anna.client.post("/reports", json=body)) == (400, code), body
    assert (await anna.client.get("/reports")).json()["items"] == []


async def test_reports_have_a_bucket_of_their_own(node: Node) -> None:
    anna = await node.person("anna")
    for _ in range(30):
        assert (await report(anna, "user", some_id())).status_code == 404
    assert code_of(await report(anna, "user", some_id())) == (429, "RATE_LIMIT_EXCEEDED")
    assert (await anna.client.get("/reports")).status_code == 200


async def test_ones_own_reports_are_paged(any_node: Node) -> None:
    anna = await any_node.person("anna")
    others = [await any_node.person() for _ in range(5)]
    for other in others:
        any_node.clock.seconds += 1
        assert (await report(anna, "user", other.id)).status_code == 201
    seen: list[str] = []
    cursor = None
    for size in (2, 2, 1):
        page = (
            await anna.client.get("/reports", params={"limit": "2", **({"cursor": cursor} if cursor else {})})
        ).json()
        assert len(page["items"]) == size
        seen += [item["target_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == [other.id for other in reversed(others)]
    assert code_of(await anna.client.get("/reports?cursor=nonsense")) == (400, "INVALID_CURSOR")
