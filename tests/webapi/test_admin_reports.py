"""Reports as admins read and decide them; messages as they delete them."""

import trio

from actors.shapes.errors import ErrorCode, KithError
from tests.webapi.node import Node
from tests.webapi.office import Office, code_of, open_office, report, said


async def decide(office: Office, id: str, decision: str, status: int = 200, **more: str) -> dict[str, object]:
    body = {"decision": decision, "note": "a note"} | more
    done: dict[str, object] = await office.do("POST", f"/admin/reports/{id}/decide", body, status)
    return done


async def test_reports_wait_in_the_order_they_came(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    ids = []
    _, message = await said(ben, anna)
    for kind, target in (("user", ben.id), ("message", message)):
        any_node.clock.seconds += 1
        ids.append((await report(anna, kind, target)).json()["id"])

    async def listed(**query: str) -> list[str]:
        answer = await office.admin.client.get("/admin/reports", params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    assert await listed() == ids
    assert await listed(kind="message") == ids[1:]
    await decide(office, ids[0], "dismiss")
    assert await listed() == ids[1:]
    assert await listed(status="dismissed") == ids[:1]
    assert await listed(status="any") == ids
    first = (await office.admin.client.get("/admin/reports?status=any&limit=1")).json()
    assert [one["id"] for one in first["items"]] == ids[:1]
    assert await listed(status="any", limit="1", cursor=first["next_cursor"]) == ids[1:]
    assert code_of(await office.admin.client.get("/admin/reports?status=new")) == (400, "INVALID_QUERY")


async def test_a_decision_does_what_it_says(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat, message = await said(ben, anna)
    of_user, of_message = [(await report(anna, k, t)).json()["id"] for k, t in (("user", ben.id), ("message", message))]
    warned = await decide(office, of_user, "warn")
    assert (warned["status"], warned["note"], warned["decided_by"]) == ("user_warned", "a note", office.admin.id)
    [measure] = (await ben.client.get("/measures")).json()["items"]
    assert (measure["action"], measure["reason"], measure["report_id"]) == ("warn_user", "a note", of_user)
    removed = await decide(office, of_message, "remove_content")
    assert removed["status"] == "content_removed"
    [left] = (await anna.client.get(f"/conversations/{chat}/messages")).json()["items"]
    assert (left["id"], left["text"], left["deleted_by"]) == (message, None, office.admin.id)
    assert removed["snapshot"]["message"]["text"] == "something rude"  # type: ignore[index]
    again = (await report(anna, "user", ben.id)).json()["id"]
    suspended = await decide(office, again, "suspend_user", until="2030-01-01T00:00:00Z")
    assert suspended["status"] == "user_suspended"
    details = (await office.sign_in(ben)).json()["error"]["details"]
    assert (details["reason"], details["until"]) == ("a note", "2030-01-01T00:00:00.000Z")


async def test_the_second_decision_is_told_the_first(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    id = (await report(anna, "user", ben.id)).json()["id"]
    await decide(office, id, "dismiss")
    for decision in ("dismiss", "suspend_user", "warn"):
        refused = await decide(office, id, decision, 409)
        assert refused["error"]["code"] == "IDEMPOTENCY_CONFLICT"  # type: ignore[index]
        assert refused["error"]["details"] == {"status": "dismissed"}  # type: ignore[index]
    assert (await ben.client.get("/users/me")).status_code == 200


async def test_two_admins_at_once(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    other = await any_node.person("other")
    await office.grant(other)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    for _ in range(3):
        id = (await report(anna, "user", ben.id)).json()["id"]
        told: list[int] = []

        async def rule(who: object, decision: str, id: str = id, told: list[int] = told) -> None:
            body = {"decision": decision, "note": "mine"}
            told.append((await who.client.post(f"/admin/reports/{id}/decide", json=body)).status_code)  # type: ignore[attr-defined]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rule, office.admin, "warn")
            nursery.start_soon(rule, other, "dismiss")
        assert sorted(told) == [200, 409]
    rows = [row for row in await office.log() if row["report_id"] is not None]
    assert len(rows) == 3


async def test_a_decision_must_fit(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    id = (await report(anna, "user", ben.id)).json()["id"]
    of_admin = (await report(anna, "user", office.admin.id)).json()["id"]
    for body in (
        {"decision": "remove_content", "note": "x"},
        {"decision": "warn", "note": "x", "until": "2030-01-01T00:00:00Z"},
        {"decision": "suspend_user", "note": "x", "until": "2020-01-01T00:00:00Z"},
        {"decision": "forgive", "note": "x"},
        {"decision": "warn"},
        {"decision": "warn", "note": ""},
    ):
        answer = await office.admin.client.post(f"/admin/reports/{id}/decide", json=body)
        assert code_of(answer) == (400, "INVALID_PAYLOAD"), body
    too_long = await office.admin.client.post(
        f"/admin/reports/{id}/decide", json={"decision": "warn", "note": "x" * 1_001}
    )
    assert code_of(too_long) == (400, "CONTENT_TOO_LONG")
    assert (await decide(office, of_admin, "suspend_user", 403))["error"]["code"] == "FORBIDDEN"  # type: ignore[index]
    waiting = await office.do("GET", "/admin/reports")
    assert len(waiting["items"]) == 2


async def test_a_removal_that_broke_off_is_finished_by_a_repeat(node: Node) -> None:
    """The decision was stored and the node that made it died before the message was gone."""
    office = await open_office(node, None)
    anna, ben = await node.person("anna"), await node.person("ben")
    chat, message = await said(ben, anna)
    id = (await report(anna, "message", message)).json()["id"]
    ask, asked = node.services.conversations.ask, []

    async def refused(*what: object) -> None:
        asked.append(what)
        raise KithError(ErrorCode.UNAVAILABLE)

    node.services.conversations.ask = refused  # type: ignore[method-assign, assignment]
    assert (await decide(office, id, "remove_content", 503))["error"]["code"] == "UNAVAILABLE"  # type: ignore[index]
    node.services.conversations.ask = ask  # type: ignore[method-assign]
    assert len(asked) == 1
    [left] = (await anna.client.get(f"/conversations/{chat}/messages")).json()["items"]
    assert left["text"] == "something rude"
    assert (await decide(office, id, "remove_content"))["status"] == "content_removed"
    [left] = (await anna.client.get(f"/conversations/{chat}/messages")).json()["items"]
    assert left["text"] is None
    assert (await decide(office, id, "remove_content", 409))["error"]["code"] == "IDEMPOTENCY_CONFLICT"  # type: ignore[index]
    assert [row["action"] for row in await office.log(user_id=ben.id)] == ["delete_message"]


async def test_a_message_is_deleted_by_an_admin_who_is_no_member(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat, message = await said(ben, anna)
    first = await office.do("DELETE", f"/admin/messages/{message}", {"reason": "rude"})
    assert first == {"message_id": message, "rev": 3}
    assert await office.do("DELETE", f"/admin/messages/{message}") == first
    assert len(await office.log(target_id=message)) == 1, "the second time nothing was done"
    [left] = (await ben.client.get(f"/conversations/{chat}/messages")).json()["items"]
    assert (left["text"], left["deleted_by"]) == (None, office.admin.id)
    assert code_of(await office.admin.client.get(f"/conversations/{chat}/messages")) == (404, "CONVERSATION_NOT_FOUND")
