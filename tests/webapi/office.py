"""A node with a platform admin, for the tests of moderation: on rows in memory or on a real database."""

import uuid
from typing import Any

from actors.shapes.ids import ConversationId
from storage.grants import set_admin
from storage.memory.standing import MemoryStanding
from tests.webapi.node import PASSWORD, Node, Person


class Office:
    """The node, its one admin, and what he does most."""

    def __init__(self, node: Node, url: str | None, admin: Person) -> None:
        self.node = node
        self._url = url
        self.admin = admin

    async def grant(self, person: Person, is_admin: bool = True) -> None:
        """As `kith admin` would, past every actor."""
        if self._url is not None:
            await set_admin(self._url, person.id, is_admin)
            return
        standing = self.node.stores.moderation.standing
        assert isinstance(standing, MemoryStanding)
        (standing.admins.add if is_admin else standing.admins.discard)(person.id)

    async def do(self, method: str, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
        """What the admin asks for, and its answer."""
        answer = await self.admin.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def suspend(self, person: Person, **more: Any) -> dict[str, Any]:
        done: dict[str, Any] = await self.do("POST", f"/admin/users/{person.id}/suspend", {"reason": "threats"} | more)
        return done

    async def log(self, **query: str) -> list[dict[str, Any]]:
        answer = await self.admin.client.get("/admin/audit", params={"limit": "100", **query})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def sign_in(self, person: Person) -> Any:
        async with self.node.client(address=person.address) as client:
            return await client.post("/auth/login", json={"email": person.email, "password": PASSWORD})


async def open_office(node: Node, url: str | None) -> Office:
    office = Office(node, url, await node.person("admin"))
    await office.grant(office.admin)
    return office


async def said(author: Person, reader: Person, text: str = "something rude") -> tuple[ConversationId, str]:
    """A conversation of the two, and the message that the one wrote there."""
    chat = await author.chat_with(reader)
    sent = await author.say(chat, text)
    return chat, sent["message_id"]


async def report(reporter: Person, kind: str, id: str, **more: Any) -> Any:
    body = {"kind": kind, "id": id, "reason": "abuse"} | more
    return await reporter.client.post("/reports", json=body)


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def some_id() -> str:
    return str(uuid.uuid4())
