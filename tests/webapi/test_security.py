"""What no single route is about: cookies, packed bodies, scripts in texts."""

import gzip

from tests.webapi.node import PASSWORD, Node, Person
from webapi.app import ROUTES


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
