"""People as admins find, see, suspend and restore them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.shapes.users import Ending
from tests.clocks import START
from tests.webapi.node import Node
from tests.webapi.office import code_of, open_office, report, said


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(START / 1000 + seconds, UTC).isoformat().replace("+00:00", "Z")


async def test_people_are_found(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    for name in ("anna_b", "Annabel", "ben"):
        any_node.clock.seconds += 1
        await any_node.person(name)

    async def found(**query: str) -> list[str]:
        answer = await office.admin.client.get("/admin/users", params=query)
        assert answer.status_code == 200, answer.text
        return [user["username"] for user in answer.json()["items"]]

    assert await found() == ["ben", "Annabel", "anna_b", "admin"]
    assert await found(q="anna") == ["Annabel", "anna_b"]
    assert await found(q="ANNA_") == ["anna_b"]
    assert await found(q="ben@example") == ["ben"]
    assert await found(q="  ben ") == ["ben"]
    assert await found(admins="true") == ["admin"]
    assert await found(status="suspended") == []
    for trick in ("%%", "_nna", "a%", "anna%", "''", "' or '1'='1", "\\\\", "**", "$1", "an\U0010ffff", "{0}", ");"):
        assert await found(q=trick) == [], trick
    for bad in ({"q": "a\x00"}, {"q": "a"}, {"q": "x" * 300}, {"status": "angry"}, {"admins": "maybe"}, {"limit": "0"}):
        assert code_of(await office.admin.client.get("/admin/users", params=bad)) == (400, "INVALID_QUERY"), bad
    assert code_of(await office.admin.client.get("/admin/users?cursor=%F0")) == (400, "INVALID_CURSOR")


async def test_pages_of_people_are_full_and_stable(any_node: Node, url: str | None) -> None:
    """All of one moment; and whoever registers meanwhile moves nobody."""
    office = await open_office(any_node, url)
    everybody = {office.admin.id} | {(await any_node.person()).id for _ in range(7)}
    seen: list[str] = []
    query: dict[str, Any] = {"limit": "3"}
    for size in (3, 3, 2):
        page = await office.admin.client.get("/admin/users", params=query)
        items = page.json()["items"]
        assert len(items) == size
        seen += [user["id"] for user in items]
        any_node.clock.seconds += 1
        await any_node.person()
        query["cursor"] = page.json()["next_cursor"]
    assert query["cursor"] is None
    assert len(seen) == len(set(seen)) == 8
    assert set(seen) == everybody


async def test_one_user_is_shown_with_everything_about_him(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    await said(ben, anna)
    filed = await report(anna, "user", ben.id)
    until = moment(86_400)
    await office.suspend(ben, until=until)
    any_node.clock.seconds += 0.001  # what is noted in one millisecond is in the order of random ids
    shown = await office.do("GET", f"/admin/users/{ben.id}")
    assert (shown["user"]["email"], shown["user"]["status"], shown["user"]["is_admin"]) == (
        ben.email, "suspended", False,
    )  # fmt: skip
    assert (shown["suspension"]["reason"], shown["suspension"]["until"][:19]) == ("threats", until[:19])
    assert shown["profile"]["username"] == "ben"
    assert [one["id"] for one in shown["reports"]] == [filed.json()["id"]]
    assert [one["action"] for one in shown["actions"]] == ["view_user", "suspend_user"]
    counts = shown["counts"]
    assert (counts["sessions"], counts["conversations"], counts["reports_open"]) == (0, 1, 1)
    assert shown["sessions"] == []
    of_anna = await office.do("GET", f"/admin/users/{anna.id}")
    assert (of_anna["suspension"], len(of_anna["sessions"]), of_anna["counts"]["reports_filed"]) == (None, 1, 1)


async def test_a_suspension_ends_everything_at_once(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    second = (await office.sign_in(anna)).json()
    sockets = [await anna.socket(number) for number in (1, 2, 3)]
    answer = await office.suspend(anna)
    assert (answer["status"], answer["ended_sessions"]) == ("suspended", 2)
    assert [socket.ended for socket in sockets] == [[Ending.REVOKED]] * 3
    assert code_of(await anna.client.get("/users/me")) == (401, "INVALID_TOKEN")
    async with any_node.client() as client:
        for token in (anna.refresh_token, second["refresh_token"]):
            refused = await client.post("/auth/refresh", json={"refresh_token": token})
            assert code_of(refused) == (401, "INVALID_TOKEN")
    refused = await office.sign_in(anna)
    assert code_of(refused) == (403, "FORBIDDEN")
    details = refused.json()["error"]["details"]
    assert (details["status"], details["reason"], details["until"]) == ("suspended", "threats", None)
    assert details["appeal_token"]


async def test_only_who_knows_the_password_learns_of_it(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    async with any_node.client() as client:
        wrong = await client.post("/auth/login", json={"email": anna.email, "password": "wrong horse"})
        nobody = await client.post("/auth/login", json={"email": "nobody@example.org", "password": "wrong horse"})
    assert code_of(wrong) == code_of(nobody) == (401, "INVALID_CREDENTIALS")
    assert wrong.json()["error"] == nobody.json()["error"]


async def test_the_suspended_are_seen_and_written_to(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    chat, _ = await said(ben, anna)
    await office.suspend(ben)
    assert (await anna.client.get(f"/users/{ben.id}")).json()["username"] == "ben"
    assert (await anna.say(chat, "where are you?"))["seq"] == 2


async def test_who_is_restored_signs_in_at_once(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna)
    restored = await office.do("POST", f"/admin/users/{anna.id}/restore")
    assert (restored["status"], restored["action_id"] is not None) == ("active", True)
    again = await office.sign_in(anna)
    assert again.status_code == 200
    async with any_node.client(again.json()["access_token"]) as client:
        assert (await client.get("/users/me")).json()["id"] == anna.id
    assert code_of(await anna.client.get("/users/me")) == (401, "INVALID_TOKEN"), "the old login stays over"
    once_more = await office.do("POST", f"/admin/users/{anna.id}/restore", {"reason": "again"})
    assert once_more["action_id"] is None


async def test_a_suspension_whose_time_is_over_ends_with_the_next_login(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna, until=moment(3_600))
    any_node.clock.seconds = 3_599
    refused = await office.sign_in(anna)
    assert refused.json()["error"]["details"]["until"] == moment(3_600).replace("Z", ".000Z")
    any_node.clock.seconds = 3_600
    assert (await office.sign_in(anna)).status_code == 200
    office.admin = await any_node.person("another")  # the first one's token has run out by now
    await office.grant(office.admin)
    rows = await office.log(user_id=anna.id)
    assert (rows[0]["action"], rows[0]["actor"], rows[0]["admin_id"]) == ("restore_user", "time", None)
    assert [row["action"] for row in rows] == ["restore_user", "suspend_user"]


async def test_signing_out_leaves_the_door_open(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    socket = await anna.socket()
    answer = await office.do("POST", f"/admin/users/{anna.id}/sign-out", {"reason": "a stolen phone"})
    assert (answer["status"], answer["ended_sessions"]) == ("active", 1)
    assert socket.ended == [Ending.REVOKED]
    assert code_of(await anna.client.get("/users/me")) == (401, "INVALID_TOKEN")
    assert (await office.sign_in(anna)).status_code == 200


@pytest.mark.parametrize("reason", ["' or 1=1 --", "\U0001f620 {0} %s $1 \\", "a\nb"])
async def test_a_reason_is_only_a_text(any_node: Node, url: str | None, reason: str) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    await office.suspend(anna, reason=reason)
    assert (await office.log(user_id=anna.id))[0]["reason"] == reason
    assert (await office.sign_in(anna)).json()["error"]["details"]["reason"] == reason
