"""Who is told to slow down, by which bucket, and what he is told."""

import pytest

from actors.limiter import Limit, LimiterOptions
from tests.clocks import HandClock
from tests.webapi.node import PASSWORD, Node, Person, memory_stores, open_node
from tests.webapi.test_accounts import code


async def test_a_user_has_a_hundred_requests_and_more_with_time(node: Node, anna: Person, ben: Person) -> None:
    for left in range(99, -1, -1):
        answer = await anna.client.get("/users/me")
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, str(left))
    assert answer.headers["X-RateLimit-Limit"] == "100"
    assert answer.headers["X-RateLimit-Reset"] == "60"
    refused = await anna.client.get("/auth/sessions")
    assert code(refused) == "429 RATE_LIMIT_EXCEEDED"
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert node.metrics.value("rate_limited_total", "requests") == 1
    assert (await ben.client.get("/users/me")).status_code == 200
    node.clock.seconds += 0.7
    assert (await anna.client.get("/users/me")).status_code == 200


async def test_a_user_is_limited_wherever_he_comes_from(node: Node, anna: Person) -> None:
    for number in range(100):
        async with node.client(anna.token, address=f"10.50.0.{number}") as client:
            await client.get("/users/me")
    async with node.client(anna.token, address="10.50.1.1") as client:
        assert code(await client.get("/users/me")) == "429 RATE_LIMIT_EXCEEDED"


async def test_an_address_registers_ten_times_an_hour(node: Node) -> None:
    async with node.client(address="10.1.1.1") as client:
        for number in range(10):
            body = {"email": f"a{number}@example.org", "password": PASSWORD}
            assert (await client.post("/auth/register", json=body)).status_code == 201
        for body in ({"email": "wrong", "password": PASSWORD}, {"email": "z@example.org", "password": "weak"}):
            assert (await client.post("/auth/register", json=body)).status_code == 400  # a mistake costs nothing
        body = {"email": "b@example.org", "password": PASSWORD}
        refused = await client.post("/auth/register", json=body)
        assert code(refused) == "429 RATE_LIMIT_EXCEEDED"
        assert refused.headers["Retry-After"] == "360"
        assert refused.headers["X-RateLimit-Limit"] == "10"
        node.clock.seconds += 360
        assert (await client.post("/auth/register", json=body)).status_code == 201
    async with node.client(address="10.1.1.2") as client:
        body = {"email": "c@example.org", "password": PASSWORD}
        assert (await client.post("/auth/register", json=body)).status_code == 201


async def test_an_address_tries_thirty_passwords_in_five_minutes(node: Node, anna: Person) -> None:
    async with node.client(address="10.1.1.1") as client:
        for _ in range(30):
            body = {"email": anna.email, "password": "wrong horse"}
            assert code(await client.post("/auth/login", json=body)) == "401 INVALID_CREDENTIALS"
        body = {"email": anna.email, "password": PASSWORD}
        assert code(await client.post("/auth/login", json=body)) == "429 RATE_LIMIT_EXCEEDED"
        node.clock.seconds += 10
        assert (await client.post("/auth/login", json=body)).status_code == 200


async def test_a_stolen_token_does_not_guess_the_password(node: Node, anna: Person) -> None:
    body = {"current_password": "wrong horse", "new_password": "a better one"}
    for _ in range(30):
        assert code(await anna.client.post("/auth/password", json=body)) == "401 INVALID_CREDENTIALS"
    assert code(await anna.client.post("/auth/password", json=body)) == "429 RATE_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/users/me", 401), ("GET", "/no/such/route", 404), ("POST", "/auth/refresh", 400)],
)
async def test_strangers_of_one_address_share_six_hundred(node: Node, method: str, path: str, status: int) -> None:
    node.services.limiter.bucket(Limit.UNAUTHENTICATED, "2001:db8:0:1::/64").tokens = 2
    for number, wanted in enumerate((status, status, 429)):
        async with node.client(address=f"2001:db8:0:1::{number + 1}") as client:
            answer = await client.request(method, path, content=b"{}", headers={"Content-Type": "application/json"})
        assert answer.status_code == wanted
    async with node.client(address="2001:db8:0:2::1") as client:
        answer = await client.request(method, path, content=b"{}", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["X-RateLimit-Limit"]) == (status, "600")


async def test_health_metrics_and_keys_pay_nothing(node: Node) -> None:
    node.services.limiter.bucket(Limit.UNAUTHENTICATED, "192.0.2.1").tokens = 0
    async with node.client(prefix="") as client:
        for path in ("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "X-RateLimit-Limit" not in answer.headers


async def test_a_load_user_is_limited_like_everybody_by_a_larger_number(node: Node, anna: Person) -> None:
    assert node.tables is not None
    node.tables.users[anna.id].limits = "load"
    for _ in range(150):
        answer = await anna.client.get("/users/me")
    assert answer.status_code == 200
    assert int(answer.headers["X-RateLimit-Limit"]) > 1_000_000
    assert int(answer.headers["X-RateLimit-Remaining"]) == int(answer.headers["X-RateLimit-Limit"]) - 150


async def test_a_users_limits_are_read_again_after_a_minute(node: Node, anna: Person) -> None:
    assert node.tables is not None
    await anna.client.get("/users/me")
    node.tables.users[anna.id].limits = "load"
    assert (await anna.client.get("/users/me")).headers["X-RateLimit-Limit"] == "100"
    node.clock.seconds += 61
    assert (await anna.client.get("/users/me")).headers["X-RateLimit-Limit"] != "100"
    node.tables.users[anna.id].status = "suspended"
    node.clock.seconds += 61
    assert code(await anna.client.get("/users/me")) == "401 INVALID_TOKEN"


async def test_load_machines_of_exempt_nets_are_never_stopped(clock: HandClock) -> None:
    limits = LimiterOptions(exempt_nets=("10.9.0.0/16",))
    async with open_node(memory_stores(clock), clock, limits) as node:
        async with node.client(address="10.9.0.1") as client:
            for number in range(15):
                body = {"email": f"a{number}@example.org", "password": PASSWORD}
                assert (await client.post("/auth/register", json=body)).status_code == 201
        async with node.client(address="10.8.0.1") as client:
            for number in range(11):
                body = {"email": f"b{number}@example.org", "password": PASSWORD}
                answer = await client.post("/auth/register", json=body)
        assert code(answer) == "429 RATE_LIMIT_EXCEEDED"


async def test_a_suspended_users_token_opens_nothing_from_an_exempt_net_either(clock: HandClock) -> None:
    limits = LimiterOptions(exempt_nets=("10.9.0.0/16",))
    async with open_node(memory_stores(clock), clock, limits) as node, node.client(address="10.9.0.1") as client:
        body = {"email": "a@example.org", "password": PASSWORD}
        told = (await client.post("/auth/register", json=body)).json()
        async with node.client(told["access_token"], address="10.9.0.1") as caller:
            for _ in range(101):
                assert (await caller.get("/users/me")).status_code == 200  # still exempt from the limit of a hundred
            assert node.tables is not None
            node.tables.users[told["user_id"]].status = "suspended"
            node.clock.seconds += 61
            assert code(await caller.get("/users/me")) == "401 INVALID_TOKEN"


async def test_the_address_behind_a_proxy_is_what_the_gateway_says(node: Node) -> None:
    """All lines of X-Forwarded-For are handed over: a proxy may add its own below what the client made up."""
    node.services.limiter.bucket(Limit.UNAUTHENTICATED, "made up,10.3.3.3").tokens = 0
    async with node.client() as client:
        headers = [("X-Forwarded-For", "made up"), ("X-Forwarded-For", "10.3.3.3")]
        assert (await client.get("/users/me", headers=headers)).status_code == 429
        assert (await client.get("/users/me")).status_code == 401
