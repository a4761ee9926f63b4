"""One-time codes and a sign-in provider on a real node, configured by its environment, killed and started again."""

import base64
import time

import httpx

from actors.rules.totp import code_at, step_of
from actors.shapes.times import WallTime
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, OidcProvider, open_provider
from tests.system.conftest import StartNode
from tests.system.harness import KithNode, Person, phone_of, register

PASSWORD = "correct horse battery"


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']}"


def codes(secret: str) -> tuple[str, str]:
    """The one of now and the next, both good for at least another 30 s."""
    step = step_of(WallTime(round(time.time() * 1000)))
    return code_at(base64.b32decode(secret), step), code_at(base64.b32decode(secret), step + 1)


async def restarted(node: KithNode) -> None:
    node.kill()
    await node.start()


async def come_back(node: KithNode, provider: OidcProvider) -> dict[str, str]:
    async with node.http() as http:
        started = (await http.post("/auth/oidc/start", json={"redirect_uri": REDIRECT_URI})).json()
    return {"flow": started["flow"], **await provider.consent(started["authorization_url"])}


async def finish(node: KithNode, brought: dict[str, str]) -> httpx.Response:
    async with node.http() as http:
        return await http.post("/auth/oidc/finish", json=brought)


async def test_a_person_comes_in_by_the_provider_and_a_flow_stays_spent_over_a_crash(start_node: StartNode) -> None:
    async with open_provider() as provider:
        node = await start_node(
            OIDC_ISSUER=provider.issuer,
            OIDC_CLIENT_ID=CLIENT_ID,
            OIDC_CLIENT_SECRET=CLIENT_SECRET,
            OIDC_REDIRECT_URIS=f"{REDIRECT_URI},org.app:/in",
        )
        async with node.http() as http:
            shown = (await http.get("/auth/oidc")).json()
        assert shown == {"issuer": provider.issuer, "redirect_uris": [REDIRECT_URI, "org.app:/in"]}
        provider.is_somebody("anna", preferred_username="Anna")
        brought, begun_before = await come_back(node, provider), await come_back(node, provider)
        answer = await finish(node, brought)
        assert (answer.status_code, answer.json()["username"]) == (201, "Anna")
        anna = Person(node, answer.json())
        async with phone_of(anna) as phone:
            assert phone.closed is None
        await restarted(node)
        provider.codes |= provider.redeemed  # as if it had forgotten that this code was redeemed
        assert code(await finish(node, brought)) == "401 INVALID_CREDENTIALS"
        # What was begun before the crash is finished after it: the client holds all of it.
        again = await finish(node, begun_before)
        assert (again.status_code, again.json()["user_id"]) == (200, anna.id)
        provider.mischief = "wrong_aud"
        assert code(await finish(node, await come_back(node, provider))) == "503 UNAVAILABLE"
    log = node.log.read_text()
    assert "id_token_InvalidAudienceError" in log
    for secret in (CLIENT_SECRET, brought["code"], brought["state"], brought["flow"], "anna@example.org"):
        assert secret not in log


async def test_wrong_codes_are_remembered_over_a_crash(start_node: StartNode) -> None:
    node = await start_node()
    anna = await register(node)
    async with anna.http() as http:
        made = (await http.post("/auth/totp/enable", json={"password": PASSWORD})).json()
        now, later = codes(made["secret"])
        confirmed = await http.post("/auth/totp/confirm", json={"code": now})
        assert confirmed.status_code == 200, confirmed.text
    body = {"email": anna.answer["email"], "password": PASSWORD}
    async with node.http() as http:
        assert code(await http.post("/auth/login", json=body)) == "401 TOTP_REQUIRED"
        for _ in range(5):
            assert code(await http.post("/auth/login", json=body | {"totp": "000000"})) == "401 INVALID_CREDENTIALS"
    await restarted(node)
    async with node.http() as http:
        paused = await http.post("/auth/login", json=body | {"totp": later})
        assert code(paused) == "429 RATE_LIMIT_EXCEEDED"
        assert 0 < int(paused.headers["Retry-After"]) <= 60
        recovery = confirmed.json()["recovery_codes"][0]
        assert (await http.post("/auth/login", json=body | {"totp": recovery})).status_code == 200
        assert code(await http.post("/auth/login", json=body | {"totp": recovery})) == "401 INVALID_CREDENTIALS"
    log = node.log.read_text()
    for secret in (made["secret"], recovery, PASSWORD):
        assert secret not in log
