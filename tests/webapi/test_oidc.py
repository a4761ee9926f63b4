"""Signing in with a provider: a real one on loopback, that keeps to the rules or breaks one; in memory and on
PostgreSQL."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio

from actors.shapes.times import Seconds
from realtime.oidc.fetching import FETCH_SECONDS
from realtime.oidc.provider import OpenIdProvider, ProviderOptions
from tests.clocks import HandClock
from tests.oidc_provider import (
    ANSWERS,
    CLIENT_ID,
    CLIENT_SECRET,
    FORGERIES,
    LIES,
    OTHERS,
    REDIRECT_URI,
    OidcProvider,
    open_provider,
)
from tests.webapi.conftest import postgres_node
from tests.webapi.node import PASSWORD, Node, Person, memory_stores, open_node
from tests.webapi.office import open_office
from tests.webapi.test_totp import App, with_codes


def hurry(node: Node, deadline: float = 0.2) -> None:
    """Give the provider no more than this for an answer."""
    assert isinstance(node.services.provider, OpenIdProvider)
    node.services.provider.fetcher.deadline = Seconds(deadline)


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']}"


def field(answer: httpx.Response) -> str | None:
    named: str | None = answer.json()["error"]["details"].get("field")
    return named


@pytest.fixture
async def provider(clock: HandClock) -> AsyncIterator[OidcProvider]:
    async with open_provider(lambda: clock.now() / 1000) as opened:
        opened.is_somebody("anna")
        yield opened


def provider_of(server: OidcProvider, clock: HandClock, secret: str = CLIENT_SECRET) -> OpenIdProvider:
    options = ProviderOptions(server.issuer, CLIENT_ID, secret, (REDIRECT_URI, "org.app:/in"), "openid email profile")
    return OpenIdProvider(options, clock)


@pytest.fixture
async def node(provider: OidcProvider, clock: HandClock) -> AsyncIterator[Node]:
    async with open_node(memory_stores(clock), clock, provider=provider_of(provider, clock)) as opened:
        yield opened


@pytest.fixture
async def any_node(url: str | None, provider: OidcProvider, clock: HandClock) -> AsyncIterator[Node]:
    asked = provider_of(provider, clock)
    if url is None:
        async with open_node(memory_stores(clock), clock, provider=asked) as opened:
            yield opened
        return
    async with postgres_node(url, clock, provider=asked) as opened:
        yield opened


async def post(node: Node, path: str, token: str | None = None, **body: Any) -> httpx.Response:
    async with node.client(token, address="10.1.1.1") as client:
        return await client.post(path, json=body)


async def start(node: Node) -> dict[str, Any]:
    answer = await post(node, "/auth/oidc/start", redirect_uri=REDIRECT_URI)
    assert answer.status_code == 200, answer.text
    started: dict[str, Any] = answer.json()
    return started


async def come_back(node: Node, provider: OidcProvider) -> dict[str, Any]:
    """All that a client has when the browser is back: the flow it kept, the code and the state."""
    started = await start(node)
    return {"flow": started["flow"], **await provider.consent(started["authorization_url"])}


async def sign_in(node: Node, provider: OidcProvider, **more: Any) -> httpx.Response:
    return await post(node, "/auth/oidc/finish", **await come_back(node, provider), **more)


async def newcomer(node: Node, provider: OidcProvider, name: str = "anna", **claims: Any) -> Person:
    provider.is_somebody(name, **claims)
    answer = await sign_in(node, provider)
    assert answer.status_code == 201, answer.text
    return Person(node, answer.json(), "10.2.2.2")


async def link(person: Person, provider: OidcProvider, password: str | None = PASSWORD) -> httpx.Response:
    body = {"redirect_uri": REDIRECT_URI} | ({} if password is None else {"password": password})
    started = await person.client.post("/auth/oidc/link/start", json=body)
    assert started.status_code == 200, started.text
    brought = await provider.consent(started.json()["authorization_url"])
    return await person.client.post("/auth/oidc/link/finish", json={"flow": started.json()["flow"], **brought})


# -- what is configured -----------------------------------------------------------------------------------------------


async def test_clients_learn_which_provider_there_is(node: Node, provider: OidcProvider) -> None:
    async with node.client() as client:
        answer = await client.get("/auth/oidc")
    assert answer.json() == {"issuer": provider.issuer, "redirect_uris": [REDIRECT_URI, "org.app:/in"]}
    assert provider.asked == []  # whether it is there is not asked for that


async def test_without_a_provider_there_is_nothing(clock: HandClock) -> None:
    async with open_node(memory_stores(clock), clock) as node:
        anna = await node.person("anna")
        uri = {"redirect_uri": REDIRECT_URI}
        brought = {"flow": "x", "code": "x", "state": "x"}
        answers = [
            await anna.client.get("/auth/oidc"),
            await anna.client.post("/auth/oidc/start", json=uri),
            await anna.client.post("/auth/oidc/finish", json=brought),
            await anna.client.post("/auth/oidc/link/start", json=uri | {"password": PASSWORD}),
            await anna.client.post("/auth/oidc/link/finish", json=brought),
        ]
        assert {code(answer) for answer in answers} == {"404 CONTENT_NOT_FOUND"}
        assert (await anna.client.get("/auth/identities")).json()["items"] == []


async def test_a_sign_in_begins_with_everything_the_standard_wants(node: Node, provider: OidcProvider) -> None:
    started = await start(node)
    url = urlsplit(started["authorization_url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{provider.issuer}/authorize"
    query = {name: value for name, [value] in parse_qs(url.query).items()}
    assert (query["client_id"], query["redirect_uri"], query["scope"]) == (
        CLIENT_ID, REDIRECT_URI, "openid email profile",
    )  # fmt: skip
    assert started["expires_in"] == 600
    # Nothing of what must stay here can be read from what the client keeps, or what goes by the browser.
    for secret in (query["state"], query["nonce"], query["code_challenge"]):
        assert secret not in started["flow"]
    again = parse_qs(urlsplit((await start(node))["authorization_url"]).query)
    assert not {query["state"], query["nonce"], query["code_challenge"]} & {
        again["state"][0], again["nonce"][0], again["code_challenge"][0],
    }  # fmt: skip


@pytest.mark.parametrize("uri", ["", "https://evil.example.org/", REDIRECT_URI + "/", REDIRECT_URI + "?a", "org.app:/"])
async def test_nobody_is_sent_back_elsewhere(node: Node, provider: OidcProvider, uri: str) -> None:
    answer = await post(node, "/auth/oidc/start", redirect_uri=uri)
    assert (code(answer), field(answer)) == ("400 INVALID_PAYLOAD", "redirect_uri")
    assert code(await post(node, "/auth/oidc/start")) == "400 INVALID_PAYLOAD"


# -- coming in --------------------------------------------------------------------------------------------------------


async def test_a_newcomer_gets_an_account_and_the_next_time_a_login(any_node: Node, provider: OidcProvider) -> None:
    provider.is_somebody("anna", preferred_username="Anna.B")
    first = await sign_in(any_node, provider)
    assert first.status_code == 201
    body = first.json()
    assert (body["username"], body["email"], body["token_type"]) == ("Anna_B", "anna@example.org", "bearer")
    second = await sign_in(any_node, provider)
    assert second.status_code == 200
    assert set(second.json()) == set(body)
    assert (second.json()["user_id"], second.json()["username"]) == (body["user_id"], "Anna_B")
    anna = Person(any_node, second.json(), "10.2.2.2")
    assert (await anna.client.get("/users/me")).json()["email"] == "anna@example.org"
    assert len((await anna.client.get("/auth/sessions")).json()["items"]) == 2
    refreshed = await anna.client.post("/auth/refresh", json={"refresh_token": anna.refresh_token})
    assert refreshed.status_code == 200


@pytest.mark.parametrize(
    ("claims", "username"),
    [
        ({}, "anna"),
        ({"preferred_username": "ann"}, "ann"),
        ({"preferred_username": "anna.berg@corp.example.org"}, "anna_berg"),
        ({"preferred_username": "Ännä Berg!"}, "Anna_Berg"),
        ({"preferred_username": "x"}, "user_x"),
        ({"preferred_username": "  "}, "anna"),
        ({"preferred_username": "日本"}, "user"),
        ({"preferred_username": "a" * 500}, "a" * 30),
    ],
)
async def test_a_username_is_made_of_what_the_provider_says(
    node: Node, provider: OidcProvider, claims: dict[str, Any], username: str
) -> None:
    assert (await newcomer(node, provider, **claims)).name == username


async def test_a_username_that_is_taken_is_varied(any_node: Node, provider: OidcProvider) -> None:
    await any_node.person("anna", "other@example.org")
    assert (await newcomer(any_node, provider, preferred_username="anna")).name.startswith("anna_")


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"email": None}, 403),
        ({"email": ""}, 403),
        ({"email": "no email"}, 403),
        ({"email_verified": False}, 403),
        ({"email_verified": "false"}, 403),
        ({"email_verified": "true"}, 201),
        ({"email_verified": None}, 201),
    ],
)
async def test_a_new_account_wants_an_email_that_is_not_known_to_be_unverified(
    node: Node, provider: OidcProvider, claims: dict[str, Any], status: int
) -> None:
    provider.is_somebody("anna", **claims)
    answer = await sign_in(node, provider)
    assert answer.status_code == status
    if status == 403:
        assert (code(answer), field(answer)) == ("403 FORBIDDEN", "email")


async def test_who_is_known_needs_no_email(node: Node, provider: OidcProvider) -> None:
    anna = await newcomer(node, provider)
    provider.is_somebody("anna", email=None, email_verified=False)
    assert (await sign_in(node, provider)).json()["user_id"] == anna.id


async def test_nobody_is_linked_by_his_email(any_node: Node, provider: OidcProvider) -> None:
    """Addresses of local accounts are not verified: who had registered the victim's would have got his sign-in, and
    who can make a provider say any address would have got the account."""
    squatter = await any_node.person("squatter", "ANNA@example.org")
    answer = await sign_in(any_node, provider)
    assert (code(answer), field(answer)) == ("409 EMAIL_TAKEN", "email")
    assert "link" in answer.json()["error"]["message"]
    assert (await squatter.client.get("/auth/identities")).json()["items"] == []
    login = await post(any_node, "/auth/login", email="anna@example.org", password=PASSWORD)
    assert login.json()["user_id"] == squatter.id


async def test_people_are_told_apart_by_their_subject_alone(any_node: Node, provider: OidcProvider) -> None:
    anna = await newcomer(any_node, provider, "anna")
    ben = await newcomer(any_node, provider, "ben", email="ben@example.org", preferred_username="anna")
    assert anna.id != ben.id
    provider.is_somebody("ben", email="anna@example.org")  # he renamed himself over there
    assert (await sign_in(any_node, provider)).json()["user_id"] == ben.id


async def test_suspended_and_deleted_accounts(node: Node, provider: OidcProvider) -> None:
    anna = await newcomer(node, provider)
    assert node.tables is not None
    node.tables.users[anna.id].status = "suspended"
    assert code(await sign_in(node, provider)) == "403 FORBIDDEN"
    node.tables.users[anna.id].status = "deleted"
    assert code(await sign_in(node, provider)) == "401 INVALID_CREDENTIALS"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_each_kind_of_key_that_is_allowed(node: Node, provider: OidcProvider, algorithm: str) -> None:
    provider.rotate(algorithm)
    assert (await sign_in(node, provider)).status_code == 201


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
async def test_a_short_key_is_not_taken(node: Node, provider: OidcProvider) -> None:
    provider.rotate("RS256", bits=1_024)
    assert code(await sign_in(node, provider)) == "503 UNAVAILABLE"


async def test_a_public_client_has_no_secret_and_still_pkce(clock: HandClock, provider: OidcProvider) -> None:
    provider.public_client = True
    async with open_node(memory_stores(clock), clock, provider=provider_of(provider, clock, "")) as node:
        assert (await sign_in(node, provider)).status_code == 201
    assert "client_secret" not in provider.forms[0]


async def test_an_issuer_may_end_in_a_slash(node: Node, provider: OidcProvider) -> None:
    """The setting does not keep it, so that provider was another one, and its identities no way into an account."""
    provider.says = "/"
    anna = await newcomer(node, provider)
    [only] = (await anna.client.get("/auth/identities")).json()["items"]
    assert only["issuer"] == provider.issuer
    assert (await sign_in(node, provider)).json()["user_id"] == anna.id
    provider.is_somebody("second")
    assert (await link(anna, provider, None)).status_code == 201
    assert (await anna.client.delete(f"/auth/identities/{only['id']}")).status_code == 204


# -- what is no answer to the flow ------------------------------------------------------------------------------------


async def test_a_flow_is_good_once(any_node: Node, provider: OidcProvider) -> None:
    brought = await come_back(any_node, provider)
    assert (await post(any_node, "/auth/oidc/finish", **brought)).status_code == 201
    again = await post(any_node, "/auth/oidc/finish", **brought)
    assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "code")


async def test_a_flow_is_good_once_even_if_the_provider_would_take_its_code_again(
    any_node: Node, provider: OidcProvider
) -> None:
    for made in (201, 200):
        brought = await come_back(any_node, provider)
        codes = dict(provider.codes)
        assert (await post(any_node, "/auth/oidc/finish", **brought)).status_code == made
        provider.codes.update(codes)
        again = await post(any_node, "/auth/oidc/finish", **brought)
        assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "flow")


async def test_of_the_same_flow_twice_at_once_one_wins(any_node: Node, provider: OidcProvider) -> None:
    """By a provider that forgets to spend its codes, for a newcomer and for somebody who is known."""
    for made in (201, 200):
        brought = await come_back(any_node, provider)
        provider.codes = Unspent(provider.codes)
        statuses: list[int] = []

        async def attempt(brought: dict[str, Any] = brought, statuses: list[int] = statuses) -> None:
            statuses.append((await post(any_node, "/auth/oidc/finish", **brought)).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(attempt)
        assert sorted(statuses) == [made, 401, 401, 401]


class Unspent(dict[str, dict[str, str]]):
    """Codes that stay good."""

    def pop(self, key: str, *default: Any) -> Any:
        return self.get(key, *default)


async def test_two_clients_of_one_newcomer_are_both_let_in(any_node: Node, provider: OidcProvider) -> None:
    first, second = await come_back(any_node, provider), await come_back(any_node, provider)
    answers: list[httpx.Response] = []

    async def attempt(brought: dict[str, Any]) -> None:
        answers.append(await post(any_node, "/auth/oidc/finish", **brought))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, first)
        nursery.start_soon(attempt, second)
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    assert len({answer.json()["user_id"] for answer in answers}) == 1


async def test_a_callback_somebody_was_lured_into_is_useless(node: Node, provider: OidcProvider) -> None:
    """Login CSRF: the attacker's code and state reach the victim's client, which has a flow of its own, or none."""
    attackers = await come_back(node, provider)
    victims = await start(node)
    mixed = await post(node, "/auth/oidc/finish", **attackers | {"flow": victims["flow"]})
    assert (code(mixed), field(mixed)) == ("401 INVALID_CREDENTIALS", "state")
    state = parse_qs(urlsplit(victims["authorization_url"]).query)["state"][0]
    injected = await post(node, "/auth/oidc/finish", **attackers | {"flow": victims["flow"], "state": state})
    assert (code(injected), field(injected)) == ("401 INVALID_CREDENTIALS", "code")  # PKCE: not its verifier


@pytest.mark.parametrize("flow", ["", "x", "x" * 10_000, "AAAA" * 30, "é"])
async def test_what_is_no_flow_of_ours(node: Node, provider: OidcProvider, flow: str) -> None:
    brought = await come_back(node, provider) | {"flow": flow}
    answer = await post(node, "/auth/oidc/finish", **brought)
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")
    answer = await post(node, "/auth/oidc/finish", flow=flow)
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")


async def test_a_flow_ends_after_ten_minutes(node: Node, provider: OidcProvider) -> None:
    late, in_time = await come_back(node, provider), await come_back(node, provider)
    node.clock.seconds = 599.999
    assert (await post(node, "/auth/oidc/finish", **in_time)).status_code == 201
    node.clock.seconds = 600
    answer = await post(node, "/auth/oidc/finish", **late)
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")


async def test_half_an_answer_is_refused_by_name(node: Node, provider: OidcProvider) -> None:
    brought = await come_back(node, provider)
    for missing in ("code", "state"):
        answer = await post(node, "/auth/oidc/finish", **{k: v for k, v in brought.items() if k != missing})
        assert (code(answer), field(answer)) == ("400 INVALID_PAYLOAD", missing)
    # A flow that has not been to the provider is nobody's.
    answer = await post(node, "/auth/oidc/finish", flow=brought["flow"])
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")


async def test_a_made_up_code_is_refused(node: Node, provider: OidcProvider) -> None:
    brought = await come_back(node, provider) | {"code": "made up"}
    answer = await post(node, "/auth/oidc/finish", **brought)
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "code")


# -- a provider that does not keep to the rules -----------------------------------------------------------------------

OF_ANOTHER_SIGN_IN = ("wrong_nonce", "no_nonce")
# What is logged: that it was refused for what is wrong with it, and not for something else.
NAMED = {
    "wrong_aud": "id_token_InvalidAudienceError",
    "many_auds": "id_token_for_another_client",
    "wrong_azp": "id_token_for_another_client",
    "expired": "id_token_expired",
    "future": "id_token_of_the_future",
    "not_before": "id_token_of_the_future",
    "no_expiry": "id_token_MissingRequiredClaimError",
    "other_issuer": "id_token_InvalidIssuerError",
    "no_subject": "id_token_MissingRequiredClaimError",
    "long_subject": "id_token_malformed",
    "odd_subject": "id_token_InvalidSubjectError",
    "unknown_kid": "unknown_key",
    "bad_signature": "id_token_InvalidSignatureError",
    "alg_none": "algorithm_not_allowed",
    "hs256_with_public_key": "algorithm_not_allowed",
    "not_a_token": "id_token_malformed",
    "long_token": "id_token_too_long",
    "deep_token": "id_token_malformed",
    "huge": "too_large",
    "slow": "too_slow",
    "dripping": "too_slow",
    "not_json": "not_understood",
    "compressed": "compressed",
    "redirects": "not_understood",
    "status_500": "token_500_no_id_token",
    "other_discovery": "another_issuer",
    "other_scheme": "endpoint_not_usable",
    "no_host": "no_address",
    "no_token": "token_200_no_id_token",
    "client_refused": "token_401_invalid_client",
}


@pytest.mark.parametrize("mischief", [*LIES, *FORGERIES, *ANSWERS, *OTHERS])
async def test_a_provider_that_misbehaves_lets_nobody_in(
    node: Node, provider: OidcProvider, mischief: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kith")
    brought = {}
    if mischief == "no_host":
        provider.mischief = mischief  # it stands in the description, which is kept for an hour
    if mischief not in ("other_discovery", "other_scheme"):
        brought = await come_back(node, provider)
    provider.mischief = mischief
    if mischief in ("slow", "dripping"):
        hurry(node)
    if brought:
        answer = await post(node, "/auth/oidc/finish", **brought)
    else:
        answer = await post(node, "/auth/oidc/start", redirect_uri=REDIRECT_URI)
    if mischief in OF_ANOTHER_SIGN_IN:
        assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "code")
        return
    assert code(answer) == "503 UNAVAILABLE"
    assert answer.headers["Retry-After"]
    assert answer.json()["error"]["details"] == {"outcome": "none"}
    [record] = [record for record in caplog.records if record.name == "kith.oidc"]
    assert record.__dict__["error"] == NAMED[mischief]
    said = json.dumps([record.getMessage(), str(record.__dict__)])
    for secret in ("anna@", "secret words", CLIENT_SECRET, brought.get("code", "-"), brought.get("state", "-")):
        assert secret == "-" or secret not in said
    # When it keeps to the rules again, so do we.
    provider.mischief = None
    hurry(node, FETCH_SECONDS)
    node.clock.seconds += 3_600 if mischief == "no_host" else 60
    assert (await sign_in(node, provider)).status_code == 201


async def test_a_provider_that_is_away(clock: HandClock, provider: OidcProvider) -> None:
    nowhere = OidcProvider(lambda: 0.0)
    nowhere.issuer = "http://127.0.0.1:1"
    async with open_node(memory_stores(clock), clock, provider=provider_of(nowhere, clock)) as node:
        answer = await post(node, "/auth/oidc/start", redirect_uri=REDIRECT_URI)
        assert code(answer) == "503 UNAVAILABLE"


async def test_a_provider_in_trouble_is_not_asked_in_a_loop(node: Node, provider: OidcProvider) -> None:
    provider.mischief = "status_500"
    for _ in range(5):
        assert code(await post(node, "/auth/oidc/start", redirect_uri=REDIRECT_URI)) == "503 UNAVAILABLE"
    assert len(provider.asked) == 1
    node.clock.seconds = 5
    assert code(await post(node, "/auth/oidc/start", redirect_uri=REDIRECT_URI)) == "503 UNAVAILABLE"
    assert len(provider.asked) == 2


async def test_discovery_is_asked_for_once_an_hour_and_what_was_known_outlives_a_failure(
    node: Node, provider: OidcProvider
) -> None:
    for _ in range(3):
        await start(node)
    assert provider.asked == ["/.well-known/openid-configuration"]
    node.clock.seconds = 3_600
    provider.mischief = "status_500"
    await start(node)
    assert provider.asked == ["/.well-known/openid-configuration"] * 2


async def test_a_key_that_was_withdrawn_is_taken_for_an_hour_and_no_longer(node: Node, provider: OidcProvider) -> None:
    """Keys were asked for again only when one was missing: a stolen one that the provider had long withdrawn went on
    signing people in until somebody came with a new one."""
    await newcomer(node, provider)
    stolen = provider.keys
    provider.rotate()
    shown, provider.keys = provider.keys, stolen
    provider.shown = shown
    assert (await sign_in(node, provider)).status_code == 200, "nobody has asked since"
    node.clock.seconds = 3_600
    assert code(await sign_in(node, provider)) == "503 UNAVAILABLE"
    provider.keys = shown
    assert (await sign_in(node, provider)).status_code == 200
    assert provider.asked.count("/jwks") == 2


async def test_keys_of_an_hour_ago_are_better_than_none(node: Node, provider: OidcProvider) -> None:
    await newcomer(node, provider)
    node.clock.seconds = 3_599
    await start(node)  # its description is asked for again, too
    node.clock.seconds = 3_700
    provider.mischief = "no_keys"
    assert (await sign_in(node, provider)).status_code == 200
    assert provider.asked.count("/jwks") == 2


async def test_keys_are_fetched_once_and_again_for_one_that_is_new_at_most_once_a_minute(
    node: Node, provider: OidcProvider
) -> None:
    await newcomer(node, provider)
    await sign_in(node, provider)
    assert provider.asked.count("/jwks") == 1
    node.clock.seconds = 60
    provider.rotate()
    assert (await sign_in(node, provider)).status_code == 200
    assert provider.asked.count("/jwks") == 2
    provider.mischief = "unknown_kid"
    for _ in range(3):
        assert code(await sign_in(node, provider)) == "503 UNAVAILABLE"
    assert provider.asked.count("/jwks") == 2
    node.clock.seconds = 120
    assert code(await sign_in(node, provider)) == "503 UNAVAILABLE"
    assert provider.asked.count("/jwks") == 3
    provider.mischief = None
    assert (await sign_in(node, provider)).status_code == 200


# -- with one-time codes ----------------------------------------------------------------------------------------------


async def test_an_account_with_codes_is_asked_for_one_here_too(any_node: Node, provider: OidcProvider) -> None:
    anna = await any_node.person("anna", "own@example.org")
    assert (await link(anna, provider)).status_code == 201
    app, recovery = await with_codes(anna)
    asked = await sign_in(any_node, provider)
    assert code(asked) == "401 TOTP_REQUIRED"
    seen = asked.json()["error"]["details"]["flow"]
    wrong = await post(any_node, "/auth/oidc/finish", flow=seen, totp="000000")
    assert (code(wrong), field(wrong)) == ("401 INVALID_CREDENTIALS", "totp")
    assert wrong.json()["error"]["details"]["flow"]
    right = await post(any_node, "/auth/oidc/finish", flow=seen, totp=app.code())
    assert (right.status_code, right.json()["user_id"]) == (200, anna.id)
    again = await post(any_node, "/auth/oidc/finish", flow=seen, totp=app.next_code())
    assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "flow")
    # At once, for who knows that it will be asked.
    assert (await sign_in(any_node, provider, totp=app.next_code())).status_code == 200
    assert (await sign_in(any_node, provider, totp=recovery[0])).status_code == 200
    for _ in range(5):
        await sign_in(any_node, provider, totp="000000")
    paused = await sign_in(any_node, provider, totp=app.next_code())
    assert code(paused) == "429 RATE_LIMIT_EXCEEDED"
    later = paused.json()["error"]["details"]["flow"]
    any_node.clock.seconds += 60
    assert (await post(any_node, "/auth/oidc/finish", flow=later, totp=app.code())).status_code == 200


async def test_who_is_suspended_hears_why_for_a_right_code_only_here_too(
    any_node: Node, url: str | None, provider: OidcProvider
) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna", "own@example.org")
    assert (await link(anna, provider)).status_code == 201
    app, _ = await with_codes(anna)
    await office.suspend(anna)
    asked = await sign_in(any_node, provider)
    assert (code(asked), asked.json()["error"]["details"].keys()) == ("401 TOTP_REQUIRED", {"flow"})
    seen = asked.json()["error"]["details"]["flow"]
    wrong = await post(any_node, "/auth/oidc/finish", flow=seen, totp="000000")
    assert (code(wrong), wrong.json()["error"]["details"].keys()) == ("401 INVALID_CREDENTIALS", {"field", "flow"})
    told = await post(any_node, "/auth/oidc/finish", flow=seen, totp=app.code())
    assert (code(told), told.json()["error"]["details"]["reason"]) == ("403 FORBIDDEN", "threats")
    again = await post(any_node, "/auth/oidc/finish", flow=seen, totp=app.code())
    assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "totp")


async def test_what_the_provider_said_is_good_for_ten_minutes(node: Node, provider: OidcProvider) -> None:
    anna = await node.person("anna", "own@example.org")
    await link(anna, provider)
    app, _ = await with_codes(anna)
    seen = (await sign_in(node, provider)).json()["error"]["details"]["flow"]
    node.clock.seconds += 600
    answer = await post(node, "/auth/oidc/finish", flow=seen, totp=app.code())
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")


# -- linking ----------------------------------------------------------------------------------------------------------


async def test_who_is_signed_in_links_the_provider_and_signs_in_with_it(any_node: Node, provider: OidcProvider) -> None:
    anna = await any_node.person("anna", "own@example.org")
    answer = await link(anna, provider)
    assert answer.status_code == 201
    linked = answer.json()
    assert set(linked) == {"id", "issuer", "email", "created_at"}
    assert (linked["issuer"], linked["email"]) == (provider.issuer, "anna@example.org")
    assert (await anna.client.get("/auth/identities")).json() == {"items": [linked], "next_cursor": None}
    assert (await sign_in(any_node, provider)).json()["user_id"] == anna.id
    again = await link(anna, provider)
    assert (again.status_code, again.json()) == (200, linked)
    # The password is as good as before.
    login = await post(any_node, "/auth/login", email="own@example.org", password=PASSWORD)
    assert login.status_code == 200


async def test_an_identity_is_one_accounts(any_node: Node, provider: OidcProvider) -> None:
    anna, ben = await any_node.person("anna", "own@example.org"), await any_node.person("ben")
    await link(anna, provider)
    assert code(await link(ben, provider)) == "403 FORBIDDEN"
    assert (await sign_in(any_node, provider)).json()["user_id"] == anna.id


async def test_a_stolen_token_links_nothing(node: Node, provider: OidcProvider) -> None:
    """The thief would link himself, and come in by his own provider for ever after."""
    anna = await node.person("anna", "own@example.org")
    for more, expected in (
        ({}, "400 INVALID_PAYLOAD"),
        ({"password": "wrong horse battery"}, "401 INVALID_CREDENTIALS"),
    ):
        answer = await anna.client.post("/auth/oidc/link/start", json={"redirect_uri": REDIRECT_URI} | more)
        assert code(answer) == expected


async def test_who_has_no_password_links_and_sets_one_when_he_has_just_signed_in(
    any_node: Node, provider: OidcProvider
) -> None:
    anna = await newcomer(any_node, provider)
    provider.is_somebody("second")
    assert (await link(anna, provider, None)).status_code == 201
    any_node.clock.seconds = 601
    new = {"new_password": "my very first"}
    uri = {"redirect_uri": REDIRECT_URI}
    late = (
        await anna.client.post("/auth/oidc/link/start", json=uri),
        await anna.client.post("/auth/totp/enable", json={}),
        await anna.client.post("/auth/password", json=new),
    )
    assert [code(answer) for answer in late] == ["401 INVALID_CREDENTIALS"] * 3
    # Refreshing is not signing in.
    refreshed = await anna.client.post("/auth/refresh", json={"refresh_token": anna.refresh_token})
    same = Person(any_node, refreshed.json(), "10.2.2.2")
    assert code(await same.client.post("/auth/password", json=new)) == "401 INVALID_CREDENTIALS"
    fresh = Person(any_node, (await sign_in(any_node, provider)).json(), "10.2.2.2")
    answer = await fresh.client.post("/auth/password", json=new)
    assert (answer.status_code, answer.json()) == (200, {"ended_sessions": 1})
    login = {"email": "anna@example.org", "password": "my very first"}
    assert (await post(any_node, "/auth/login", **login)).json()["user_id"] == anna.id
    # From now on it is asked for.
    assert code(await fresh.client.post("/auth/password", json=new)) == "400 INVALID_PAYLOAD"
    changed = await fresh.client.post("/auth/password", json=new | {"current_password": "my very first"})
    assert changed.status_code == 200


async def test_who_has_no_password_signs_in_with_none(
    any_node: Node, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await newcomer(any_node, provider)
    checked: list[str | None] = []
    verify = any_node.services.passwords.verify

    async def watched(password: str, password_hash: str | None) -> bool:
        checked.append(password_hash)
        return await verify(password, password_hash)

    monkeypatch.setattr(any_node.services.passwords, "verify", watched)
    answers = [
        await post(any_node, "/auth/login", email=email, password=password)
        for email, password in (
            ("anna@example.org", "!"),
            ("anna@example.org", ""),
            ("anna@example.org", PASSWORD),
            ("nobody@example.org", PASSWORD),
        )
    ]
    assert all(answer.json()["error"] == answers[-1].json()["error"] for answer in answers)
    assert code(answers[0]) == "401 INVALID_CREDENTIALS"
    # Each is checked against the hash for nobody, which takes as long as any; `!` would be refused in no time.
    assert checked == [None] * 4


async def test_a_flow_to_link_signs_nobody_in_and_is_its_owners(any_node: Node, provider: OidcProvider) -> None:
    """Session fixation, and its reverse: what one began another must not finish."""
    anna, ben = await any_node.person("anna", "own@example.org"), await any_node.person("ben")
    body = {"redirect_uri": REDIRECT_URI, "password": PASSWORD}
    started = (await anna.client.post("/auth/oidc/link/start", json=body)).json()
    brought = {"flow": started["flow"], **await provider.consent(started["authorization_url"])}
    signing_in = await come_back(any_node, provider)
    refused = (
        await post(any_node, "/auth/oidc/finish", **brought),
        await ben.client.post("/auth/oidc/link/finish", json=brought),
        await anna.client.post("/auth/oidc/link/finish", json=signing_in),
    )
    for answer in refused:
        assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "flow")
    assert (await anna.client.post("/auth/oidc/link/finish", json=brought)).status_code == 201
    again = await anna.client.post("/auth/oidc/link/finish", json=brought)
    assert code(again) == "401 INVALID_CREDENTIALS"


async def test_identities_are_removed_but_never_the_last_way_in(any_node: Node, provider: OidcProvider) -> None:
    anna, ben = await newcomer(any_node, provider), await any_node.person("ben")
    [only] = (await anna.client.get("/auth/identities")).json()["items"]
    path = f"/auth/identities/{only['id']}"
    assert code(await anna.client.delete(path)) == "403 FORBIDDEN"
    assert code(await ben.client.delete(path)) == "404 CONTENT_NOT_FOUND"
    assert (await anna.client.post("/auth/password", json={"new_password": PASSWORD})).status_code == 200
    assert (await anna.client.delete(path)).status_code == 204
    assert code(await anna.client.delete(path)) == "404 CONTENT_NOT_FOUND"
    assert (await anna.client.get("/auth/identities")).json()["items"] == []
    # The provider's person is a stranger now, whose address belongs to somebody.
    assert code(await sign_in(any_node, provider)) == "409 EMAIL_TAKEN"


# -- who pays ---------------------------------------------------------------------------------------------------------


async def test_newcomers_pay_as_those_who_register(node: Node, provider: OidcProvider) -> None:
    for number in range(10):
        provider.is_somebody(f"user{number}")
        assert (await sign_in(node, provider)).status_code == 201
    provider.is_somebody("late")
    assert code(await sign_in(node, provider)) == "429 RATE_LIMIT_EXCEEDED"
    provider.is_somebody("user3")
    assert (await sign_in(node, provider)).status_code == 200


async def test_finishing_pays_as_signing_in_does(node: Node) -> None:
    for _ in range(30):
        assert code(await post(node, "/auth/oidc/finish", flow="x")) == "401 INVALID_CREDENTIALS"
    assert code(await post(node, "/auth/oidc/finish", flow="x")) == "429 RATE_LIMIT_EXCEEDED"


async def test_the_codes_of_an_account_without_password(any_node: Node, provider: OidcProvider) -> None:
    anna = await newcomer(any_node, provider)
    app = App(any_node, (await anna.client.post("/auth/totp/enable", json={})).json()["secret"])
    assert (await anna.client.post("/auth/totp/confirm", json={"code": app.code()})).status_code == 200
    assert code(await sign_in(any_node, provider)) == "401 TOTP_REQUIRED"
    off = await anna.client.post("/auth/totp/disable", json={"code": app.next_code()})
    assert off.status_code == 204
