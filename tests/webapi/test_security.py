"""What no single route is about: cookies, packed bodies, scripts in texts."""

import gzip
import json
import uuid

from actors.appeal_tokens import AppealTokens
from actors.shapes.ids import UserId
from actors.shapes.moderation import ActionId
from tests.clocks import HandClock
from tests.system.database import query
from tests.webapi.conftest import postgres_node
from tests.webapi.node import PASSWORD, Node, Person
from webapi.app import ROUTES
from webapi.sign_in.flows import begin, sealed


async def test_nothing_ever_sets_a_cookie(node: Node, anna: Person) -> None:
    """Without cookies there is no CSRF; the first one would bring it back."""
    for route in ROUTES:
        path = route.path.replace("{user_id}", "me")
        for client in (anna.client, node.client()):
            answer = await client.request(route.method, path, json={"email": anna.email, "password": PASSWORD})
            assert "set-cookie" not in answer.headers, route.path


async def test_a_packed_body_is_not_unpacked(node: Node, anna: Person) -> None:
    """A megabyte of zeros in a kilobyte."""
    packed = gzip.compress(b'{"bio": "' + b"0" * 50_000_000 + b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await anna.client.patch("/users/me", content=packed, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_script_in_a_text_stays_text(node: Node, anna: Person, ben: Person) -> None:
    chat, text = await anna.chat_with(ben), "<script>alert(1)</script><!--"
    await anna.say(chat, text)
    answer = await ben.client.get(f"/conversations/{chat}/messages")
    assert answer.json()["items"][0]["text"] == text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (f"/{text}", f"/users/{text}"):
        refused = await anna.client.get(path)
        assert refused.headers["Content-Type"] == "application/json"
        assert "<script" not in refused.text


async def test_no_credential_is_taken_for_another(node: Node, anna: Person, ben: Person) -> None:
    """Each is signed or sealed under a key of its own kind, so that what one door gives opens no other."""
    seals, now = node.services.seals, node.clock.now()
    measure = ActionId(str(uuid.uuid4()))
    given = {
        "access": anna.token,
        "refresh": anna.refresh_token,
        "ticket": (await anna.client.post("/auth/ticket")).json()["ticket"],
        "appeal": AppealTokens(seals).issue(UserId(anna.id), measure, now),
        "flow": sealed(seals, begin(str(uuid.uuid4()), "https://app.example.org", anna.id, now)),
    }
    for kind, credential in given.items():
        async with node.client() as client:
            bearer = {"Authorization": f"Bearer {credential}"}
            doors = {
                "access": await client.get("/users/me", headers=bearer),
                "refresh": await client.post("/auth/refresh", json={"refresh_token": credential}),
                "appeal": await client.post("/appeals", json={"text": "why?", "appeal_token": credential}),
                "logout": await client.post("/auth/logout", json={"refresh_token": credential}),
            }
        for door, answer in doors.items():
            if kind == door or (kind, door) == ("refresh", "logout"):
                continue
            assert (answer.status_code, kind, door) == (401, kind, door), answer.text
        if kind != "ticket":
            assert not opens_as_ticket(node, credential)
    assert opens_as_ticket(node, given["ticket"])


def opens_as_ticket(node: Node, credential: str) -> bool:
    try:
        node.services.tickets.open(credential, node.clock.now())
    except Exception:
        return False
    return True


async def test_a_deleted_text_is_nowhere_in_the_database(database_url: str, clock: HandClock) -> None:
    """Neither in a row of its message nor of what was made of it: keys, replies, counters, notes for other nodes."""
    text = f"to be forgotten {uuid.uuid4()}"
    async with postgres_node(database_url, clock) as node:
        anna, ben = await node.person("anna"), await node.person("ben")
        chat = await anna.chat_with(ben)
        path, key = f"/conversations/{chat}/messages", {"Idempotency-Key": "one"}
        sent = await anna.client.post(path, json={"text": text, "mentions": [ben.id]}, headers=key)
        id = sent.json()["id"]
        await ben.client.post(path, json={"text": "what?", "reply_to": id})
        assert tables_with(database_url, text) == ["messages"]
        assert (await anna.client.delete(f"/messages/{id}")).status_code == 200
        assert tables_with(database_url, text) == []
        repeated = await anna.client.post(path, json={"text": text, "mentions": [ben.id]}, headers=key)
        assert (repeated.json()["id"], repeated.headers["Idempotent-Replayed"]) == (id, "true")
        assert tables_with(database_url, text) == []
        for reader in (anna, ben):
            for path in (
                f"/conversations/{chat}/messages",
                f"/conversations/{chat}/changes",
                f"/conversations/{chat}?include=messages",
                "/conversations",
                f"/messages/{id}",
            ):
                assert text not in (await reader.client.get(path)).text


def tables_with(database_url: str, text: str) -> list[str]:
    tables = query(
        database_url, "select coalesce(json_agg(tablename), '[]') from pg_tables where schemaname = 'public'"
    )
    return [
        table
        for table in json.loads(tables)
        if query(database_url, f"select count(*) from {table} t where t::text like '%{text}%'").strip() != "0"
    ]
