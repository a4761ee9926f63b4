"""The audit log as admins read it."""

from typing import Any

from tests.webapi.node import Node
from tests.webapi.office import code_of, open_office, said, some_id


async def test_the_log_is_filtered(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    _, message = await said(ben, anna)
    any_node.clock.seconds = 10
    await office.suspend(anna)
    any_node.clock.seconds = 20
    await office.do("POST", f"/admin/users/{anna.id}/restore")
    any_node.clock.seconds = 30
    await office.do("DELETE", f"/admin/messages/{message}", {"reason": "rude"})

    async def actions(**query: str) -> list[str]:
        """Without the operator's grant, which was made by another clock than the test's."""
        return [row["action"] for row in await office.log(**query) if row["actor"] != "operator"]

    assert await actions() == ["delete_message", "restore_user", "suspend_user"]
    assert await actions(action="suspend_user") == ["suspend_user"]
    assert await actions(admin_id=office.admin.id) == ["delete_message", "restore_user", "suspend_user"]
    assert await actions(admin_id=anna.id) == []
    assert await actions(target_id=message.upper()) == ["delete_message"]
    assert await actions(user_id=ben.id) == ["delete_message"], "it was his"
    [restored] = await office.log(action="restore_user")
    assert await actions(since=restored["at"]) == ["delete_message", "restore_user"]
    assert await actions(before=restored["at"]) == ["suspend_user"]
    assert await actions(since=restored["at"], before=restored["at"]) == []
    [deleted] = await office.log(action="delete_message")
    assert (deleted["reason"], deleted["target_kind"], deleted["user_id"]) == ("rude", "message", ben.id)


async def test_the_log_is_paged(any_node: Node, url: str | None) -> None:
    """Rows of one millisecond, and new ones that come between two pages."""
    office = await open_office(any_node, url)
    people = [await any_node.person() for _ in range(5)]
    for person in people:
        await office.do("GET", f"/admin/users/{person.id}")
    query: dict[str, Any] = {"limit": "2", "action": "view_user"}
    seen: list[str] = []
    for size in (2, 2, 1):
        page = (await office.admin.client.get("/admin/audit", params=query)).json()
        assert len(page["items"]) == size
        seen += [row["target_id"] for row in page["items"]]
        query["cursor"] = page["next_cursor"]
        any_node.clock.seconds += 1
        await office.do("GET", f"/admin/users/{office.admin.id}")
    assert query["cursor"] is None
    assert sorted(seen) == sorted(person.id for person in people)


async def test_a_question_that_makes_no_sense(node: Node) -> None:
    office = await open_office(node, None)
    for query in (
        {"admin_id": "anna"},
        {"target_id": "' or 1=1"},
        {"user_id": ""},
        {"action": "everything"},
        {"action": ""},
        {"since": "yesterday"},
        {"since": "2026-11-20T12:00:00"},
        {"before": "12"},
        {"limit": "-1"},
    ):
        answer = await office.admin.client.get("/admin/audit", params=query)
        assert code_of(answer) == (400, "INVALID_QUERY"), query
    answer = await office.admin.client.get("/admin/audit", params={"cursor": some_id()})
    assert code_of(answer) == (400, "INVALID_CURSOR")
