"""How the node says it is, its numbers, and its public keys."""

import httpx
import jwt
import pytest
import trio
import trio.testing

from actors.shapes.times import Seconds
from tests.webapi.node import PASSWORD, Node, Person
from webapi.examiner import Found


async def test_a_healthy_node_shows_each_part(node: Node) -> None:
    async with node.client() as client:
        answer = await client.get("/healthz")
        assert (await client.get("/readyz")).json() == {"ready": True}
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {
            "database": {"state": "ok", "latency_ms": 1.5},
            "redis": {"state": "not configured", "latency_ms": 1.5},
            "journal": {"state": "ok", "latency_ms": 1.5},
        },
    }


async def test_what_can_serve_is_degraded_and_what_cannot_is_down(node: Node) -> None:
    async with node.client() as client:
        node.parts["redis"].state = "away"
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert (await client.get("/readyz")).status_code == 200
        node.parts["database"].state, node.parts["database"].serves = "away", False
        node.clock.seconds += 0.25
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert answer.json()["checks"]["database"]["state"] == "away"
        assert answer.headers["Retry-After"] == "1"
        assert (await client.get("/readyz")).json() == {"ready": False}


async def test_a_crowd_is_told_what_one_look_found(node: Node) -> None:
    """Each answer was a look of its own: sixteen clients on /healthz raised everybody's latency from 2 to 96 ms."""
    database = node.parts["database"]

    async def ask(client: httpx.AsyncClient, path: str, status: int) -> None:
        assert (await client.get(path)).status_code == status

    async def crowd(status: int) -> None:
        async with node.client() as client, trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(ask, client, ("/healthz", "/readyz")[number % 2], status)

    await crowd(200)
    assert database.looks == 1
    database.state, database.serves = "away", False
    node.clock.seconds += 0.249
    await crowd(200)
    assert database.looks == 1
    node.clock.seconds += 0.001
    await crowd(503)
    assert database.looks == 2
    for fault, hangs in ((RuntimeError("a bug"), False), (None, True)):  # what failed is shared, too
        database.fault, database.hangs = fault, hangs
        node.clock.seconds += 0.25
        await crowd(503)
    assert database.looks == 4


async def test_who_leaves_during_a_look_leaves_it_to_the_next(node: Node) -> None:
    database = node.parts["database"]
    database.hangs = True
    told: list[Found] = []

    async def ask() -> None:
        told.append(await node.services.health.examine(Seconds(5.0)))

    async with trio.open_nursery() as nursery:
        impatient = trio.CancelScope()

        async def leave() -> None:
            with impatient:
                await ask()

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        database.hangs = False
        impatient.cancel()
    assert [found["database"][0].state for found in told] == ["ok"]
    assert database.looks == 2


async def test_a_part_that_does_not_answer_does_not_hold_up_the_others(node: Node) -> None:
    node.parts["journal"].hangs = True
    async with node.client() as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer.json()["checks"]["journal"] == {"state": "timeout", "latency_ms": 50.0}
    assert answer.json()["checks"]["database"]["state"] == "ok"


async def test_a_check_that_fails_is_told_like_a_part_that_is_away(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.parts["redis"].fault = RuntimeError("a bug")
    async with node.client() as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["checks"]["redis"]["state"]) == (503, "failed")
    assert answer.json()["checks"]["journal"]["state"] == "ok"
    assert [record.getMessage() for record in caplog.records] == ["health check failed"]


async def test_a_node_that_drains_is_healthy_and_not_ready(node: Node) -> None:
    node.switch.on = False
    async with node.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})


async def test_the_published_keys_check_our_tokens(node: Node, anna: Person) -> None:
    async with node.client(prefix="") as client:
        answer = await client.get("/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    keys = jwt.PyJWKSet.from_dict(answer.json())
    kid = jwt.get_unverified_header(anna.token)["kid"]
    options = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(anna.token, keys[kid].key, algorithms=["EdDSA"], audience="kith", options=options)  # type: ignore[arg-type]
    assert claims["sub"] == anna.id


async def test_every_metric_of_the_web_app_moves(node: Node, anna: Person) -> None:
    """Each is 0 or absent before, and shown at /metrics after."""
    named = ["http_requests_total", "http_request_seconds", "password_hash_seconds", "rate_limited_total"]
    async with node.client(prefix="") as client:
        for _ in range(31):
            await client.post("/auth/login", json={"email": anna.email, "password": PASSWORD})
        answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    shown = answer.text
    for name in named:
        assert name in node.metrics.names()
    assert 'http_requests_total{code="200",method="POST",route="/auth/login"} 30.0' in shown
    assert 'http_requests_total{code="429",method="POST",route="/auth/login"} 1.0' in shown
    assert 'http_request_seconds_count{route="/auth/login"} 31.0' in shown
    assert "password_hash_seconds_count 31.0" in shown  # one of them anna's registration
    assert 'rate_limited_total{limit="logins"} 1.0' in shown
    assert "rate_limit_buckets 4.0" in shown
    assert "password_hash_waiting 0.0" in shown
