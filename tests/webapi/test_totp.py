"""One-time codes: turned on, asked for at sign-in, guessed at, lost and turned off; in memory and on PostgreSQL."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio

from actors.rules.totp import code_at, step_of
from actors.sealing import Seals
from actors.shapes.times import WallTime, iso
from storage.memory.sign_in import MemorySignIn
from tests.clocks import HandClock
from tests.webapi.conftest import postgres_node
from tests.webapi.node import PASSWORD, SECRET, Node, Person, open_node
from tests.webapi.office import open_office

WRONG = "000000"


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']}"


def field(answer: httpx.Response) -> str | None:
    named: str | None = answer.json()["error"]["details"].get("field")
    return named


class App:
    """Somebody's authenticator; its clock is the node's."""

    def __init__(self, node: Node, secret: str) -> None:
        self.node = node
        self.secret = base64.b32decode(secret)

    def code(self, steps: int = 0) -> str:
        return code_at(self.secret, step_of(self.node.clock.now()) + steps)

    def next_code(self) -> str:
        """One that was not used yet: the phone shows another every 30 s."""
        self.node.clock.seconds += 30
        return self.code()


async def enable(person: Person, password: str | None = PASSWORD) -> httpx.Response:
    return await person.client.post("/auth/totp/enable", json={} if password is None else {"password": password})


async def with_codes(person: Person) -> tuple[App, list[str]]:
    """Turns codes on, and goes on to the next step: the code that confirmed is used."""
    app = App(person.node, (await enable(person)).json()["secret"])
    answer = await person.client.post("/auth/totp/confirm", json={"code": app.code()})
    assert answer.status_code == 200, answer.text
    person.node.clock.seconds += 30
    return app, answer.json()["recovery_codes"]


async def renew(person: Person, totp: str, password: str = PASSWORD) -> httpx.Response:
    return await person.client.post("/auth/totp/recovery-codes", json={"code": totp, "password": password})


async def login(person: Person, totp: str | None = None, password: str = PASSWORD) -> httpx.Response:
    body = {"email": person.email, "password": password} | ({} if totp is None else {"totp": totp})
    async with person.node.client(address=person.address) as client:
        return await client.post("/auth/login", json=body)


async def status(person: Person) -> dict[str, Any]:
    answer: dict[str, Any] = (await person.client.get("/auth/totp")).json()
    return answer


# -- on and off -------------------------------------------------------------------------------------------------------


async def test_codes_are_turned_on_in_two_steps(any_node: Node) -> None:
    anna = await any_node.person("anna")
    other = Person(any_node, (await login(anna)).json(), "10.9.9.9")
    socket = await other.socket()
    assert await status(anna) == {"enabled": False, "recovery_codes_left": 0}
    answer = await enable(anna)
    assert answer.status_code == 200
    body = answer.json()
    uri = urlsplit(body["otpauth_uri"])
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Kith:anna@example.org")
    assert parse_qs(uri.query)["secret"] == [body["secret"]]
    # Not yet: who loses the secret on the way to his phone is not locked out.
    assert await status(anna) == {"enabled": False, "recovery_codes_left": 0}
    assert (await login(anna)).status_code == 200
    confirmed = await anna.client.post("/auth/totp/confirm", json={"code": App(any_node, body["secret"]).code()})
    assert confirmed.status_code == 200
    codes = confirmed.json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert await status(anna) == {"enabled": True, "recovery_codes_left": 10}
    assert code(await login(anna)) == "401 TOTP_REQUIRED"
    # It ends nothing else.
    assert socket.ended == []
    assert (await other.client.get("/users/me")).status_code == 200
    refreshed = {"refresh_token": anna.refresh_token}
    assert (await anna.client.post("/auth/refresh", json=refreshed)).status_code == 200


async def test_a_stolen_token_turns_nothing_on(any_node: Node) -> None:
    anna = await any_node.person("anna")
    for body, expected in (
        ({"password": "wrong horse battery"}, "401 INVALID_CREDENTIALS"),
        ({"password": ""}, "401 INVALID_CREDENTIALS"),
        ({}, "400 INVALID_PAYLOAD"),
        ({"password": 7}, "400 INVALID_PAYLOAD"),
    ):
        assert code(await anna.client.post("/auth/totp/enable", json=body)) == expected
    assert code(await anna.client.post("/auth/totp/confirm", json={"code": WRONG})) == "404 CONTENT_NOT_FOUND"


async def test_only_the_last_secret_can_be_confirmed(any_node: Node) -> None:
    anna = await any_node.person("anna")
    first = App(any_node, (await enable(anna)).json()["secret"])
    second = App(any_node, (await enable(anna)).json()["secret"])
    answer = await anna.client.post("/auth/totp/confirm", json={"code": first.code()})
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "code")
    assert (await anna.client.post("/auth/totp/confirm", json={"code": second.code()})).status_code == 200
    assert code(await enable(anna)) == "403 FORBIDDEN"
    again = await anna.client.post("/auth/totp/confirm", json={"code": second.next_code()})
    assert code(again) == "404 CONTENT_NOT_FOUND"


async def test_a_recovery_code_confirms_nothing(node: Node, anna: Person) -> None:
    await enable(anna)
    answer = await anna.client.post("/auth/totp/confirm", json={"code": "abcd-efgh-ijkl-mnop"})
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "code")


async def test_codes_are_turned_off_with_password_and_code(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, recovery = await with_codes(anna)
    for body, expected, named in (
        ({"password": PASSWORD, "code": WRONG}, "401 INVALID_CREDENTIALS", "code"),
        ({"password": PASSWORD, "code": "x" * 100}, "401 INVALID_CREDENTIALS", "code"),
        ({"password": "wrong horse battery", "code": app.code()}, "401 INVALID_CREDENTIALS", None),
        ({"code": app.code()}, "400 INVALID_PAYLOAD", "password"),
        ({"password": PASSWORD}, "400 INVALID_PAYLOAD", "code"),
    ):
        answer = await anna.client.post("/auth/totp/disable", json=body)
        assert (code(answer), field(answer)) == (expected, named)
    assert code(await login(anna)) == "401 TOTP_REQUIRED"
    off = await anna.client.post("/auth/totp/disable", json={"password": PASSWORD, "code": app.code()})
    assert (off.status_code, off.content) == (204, b"")
    assert await status(anna) == {"enabled": False, "recovery_codes_left": 0}
    assert (await login(anna)).status_code == 200
    # A code that nobody asks for is no mistake.
    assert (await login(anna, recovery[0])).status_code == 200
    gone = await anna.client.post("/auth/totp/disable", json={"password": PASSWORD, "code": app.next_code()})
    assert code(gone) == "404 CONTENT_NOT_FOUND"


async def test_a_lost_phone_is_turned_off_with_a_recovery_code(any_node: Node) -> None:
    anna = await any_node.person("anna")
    _, recovery = await with_codes(anna)
    off = await anna.client.post("/auth/totp/disable", json={"password": PASSWORD, "code": recovery[4]})
    assert off.status_code == 204
    assert (await enable(anna)).status_code == 200


# -- signing in -------------------------------------------------------------------------------------------------------


async def test_a_code_is_asked_for_only_after_the_right_password(any_node: Node) -> None:
    """Whoever does not know the password must not learn whether there is a second factor to look for."""
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    app, _ = await with_codes(anna)
    answers = [
        await login(anna, password="wrong horse battery"),
        await login(anna, app.code(), password="wrong horse battery"),
        await login(anna, WRONG, password="wrong horse battery"),
        await login(ben, password="wrong horse battery"),
        await login(ben, WRONG, password="wrong horse battery"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all(answer.json()["error"] == answers[0].json()["error"] for answer in answers)
    assert answers[0].json()["error"]["details"] == {}
    assert {frozenset(answer.headers) for answer in answers} == {frozenset(answers[0].headers)}
    # And none of them was looked at: the code is still good.
    assert code(await login(anna)) == "401 TOTP_REQUIRED"
    assert (await login(anna, app.code())).status_code == 200


async def test_a_code_is_good_once(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    first = await login(anna, app.code())
    assert first.status_code == 200
    assert set(first.json()) >= {"access_token", "refresh_token", "user_id"}
    again = await login(anna, app.code())
    assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "totp")
    older = await login(anna, app.code(-1))
    assert (code(older), field(older)) == ("401 INVALID_CREDENTIALS", "totp")
    assert (await login(anna, app.next_code())).status_code == 200


async def test_the_code_that_confirmed_is_used(node: Node, anna: Person) -> None:
    app = App(node, (await enable(anna)).json()["secret"])
    assert (await anna.client.post("/auth/totp/confirm", json={"code": app.code()})).status_code == 200
    assert code(await login(anna, app.code())) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, app.next_code())).status_code == 200


async def test_of_the_same_code_twice_at_once_one_wins(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    answers: list[httpx.Response] = []

    async def attempt() -> None:
        answers.append(await login(anna, app.code()))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt)
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


@pytest.mark.parametrize(
    ("late", "right"), [(-60.0, False), (-30.001, False), (-30.0, True), (59.999, True), (60.0, False)]
)
async def test_the_window_has_edges(node: Node, anna: Person, late: float, right: bool) -> None:
    """A code of the step that begins now is good from 30 s before to 60 s after this moment, to the millisecond."""
    app, _ = await with_codes(anna)
    step = step_of(node.clock.now()) + 10
    begin = (step * 30_000 - node.clock.now()) / 1000
    node.clock.seconds += begin + late
    answer = await login(anna, code_at(app.secret, step))
    assert (answer.status_code == 200) is right, answer.text


async def test_codes_may_be_typed_with_the_space_that_apps_show(node: Node, anna: Person) -> None:
    app, _ = await with_codes(anna)
    digits = app.code()
    assert (await login(anna, f"{digits[:3]} {digits[3:]}")).status_code == 200


@pytest.mark.parametrize("nonsense", ["", "12345", "1234567", "١٢٣٤٥٦", "-", "x" * 5_000, "{}", "null"])
async def test_nonsense_is_wrong_and_no_fault(node: Node, anna: Person, nonsense: str) -> None:
    await with_codes(anna)
    answer = await login(anna, nonsense)
    assert (code(answer), field(answer)) == ("401 INVALID_CREDENTIALS", "totp")


async def test_who_is_suspended_hears_why_for_a_right_code_only(any_node: Node, url: str | None) -> None:
    """Who knew the password read the reason, and could appeal in the owner's name, without the second factor."""
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    app, recovery = await with_codes(anna)
    await office.suspend(anna)
    asked = await login(anna)
    assert (code(asked), asked.json()["error"]["details"]) == ("401 TOTP_REQUIRED", {})
    guessed = await login(anna, WRONG)
    assert (code(guessed), guessed.json()["error"]["details"]) == ("401 INVALID_CREDENTIALS", {"field": "totp"})
    for shown in (app.code(), recovery[0]):
        told = await login(anna, shown)
        details = told.json()["error"]["details"]
        assert (code(told), details["reason"], "appeal_token" in details) == ("403 FORBIDDEN", "threats", True)
        again = await login(anna, shown)
        assert (code(again), field(again)) == ("401 INVALID_CREDENTIALS", "totp")
    assert await any_node.stores.accounts.logins(anna.id) == []
    # A code that told this opens nothing when he is back: it is used.
    await office.do("POST", f"/admin/users/{anna.id}/restore")
    assert code(await login(anna, app.code())) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, app.next_code())).status_code == 200


async def test_guesses_at_the_code_of_who_is_suspended_are_counted(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    await office.suspend(anna)
    for _ in range(5):
        assert code(await login(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    assert code(await login(anna, app.code())) == "429 RATE_LIMIT_EXCEEDED"
    any_node.clock.seconds += 60
    assert code(await login(anna, app.code())) == "403 FORBIDDEN"


async def test_of_one_code_shown_at_once_by_two_one_hears_of_the_suspension(any_node: Node, url: str | None) -> None:
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    await office.suspend(anna)
    answers: list[httpx.Response] = []

    async def attempt() -> None:
        answers.append(await login(anna, app.code()))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(attempt)
    assert sorted(answer.status_code for answer in answers) == [401, 401, 401, 403]


async def test_a_suspension_that_is_over_costs_one_code(any_node: Node, url: str | None) -> None:
    """The code that ends a suspension must not be used up by that: it opens the login."""
    office = await open_office(any_node, url)
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    await office.suspend(anna, until=iso(WallTime(any_node.clock.now() + 60_000)))
    any_node.clock.seconds += 60
    assert code(await login(anna)) == "401 TOTP_REQUIRED"
    assert (await login(anna, app.code())).status_code == 200


async def test_a_new_password_needs_no_code_and_leaves_codes_on(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    change = {"current_password": PASSWORD, "new_password": "a better one"}
    assert (await anna.client.post("/auth/password", json=change)).status_code == 200
    assert code(await login(anna, password="a better one")) == "401 TOTP_REQUIRED"
    assert (await login(anna, app.code(), password="a better one")).status_code == 200


# -- guessing ---------------------------------------------------------------------------------------------------------


async def test_five_wrong_codes_and_the_account_rests(any_node: Node) -> None:
    anna, ben = await any_node.person("anna"), await any_node.person("ben")
    app, recovery = await with_codes(anna)
    theirs, _ = await with_codes(ben)
    for _ in range(5):
        assert code(await login(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    answer = await login(anna, app.code())
    assert (code(answer), field(answer)) == ("429 RATE_LIMIT_EXCEEDED", "totp")
    assert answer.headers["Retry-After"] == "60"
    # Neither who does not know the password, nor anybody else, notices.
    assert code(await login(anna, password="wrong horse battery")) == "401 INVALID_CREDENTIALS"
    assert code(await login(anna)) == "401 TOTP_REQUIRED"
    assert (await login(ben, theirs.code())).status_code == 200
    # Nobody guesses 80 bits: the owner gets in while somebody else tries.
    assert (await login(anna, recovery[0])).status_code == 200
    any_node.clock.seconds += 59.9
    assert code(await login(anna, app.code())) == "429 RATE_LIMIT_EXCEEDED"
    any_node.clock.seconds += 0.1
    assert code(await login(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, app.code())).headers["Retry-After"] == "120"
    any_node.clock.seconds += 120
    assert (await login(anna, app.code())).status_code == 200
    # And a right one begins the count anew.
    assert code(await login(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, app.next_code())).status_code == 200


async def test_guesses_are_counted_wherever_they_are_made(any_node: Node) -> None:
    """A thief with a token and the password had as many guesses as he liked where codes are turned off."""
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    for _ in range(2):
        assert code(await login(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    for _ in range(2):
        answer = await anna.client.post("/auth/totp/disable", json={"password": PASSWORD, "code": WRONG})
        assert code(answer) == "401 INVALID_CREDENTIALS"
    assert code(await renew(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    for path in ("/auth/totp/disable", "/auth/totp/recovery-codes"):
        answer = await anna.client.post(path, json={"password": PASSWORD, "code": app.code()})
        assert (code(answer), field(answer)) == ("429 RATE_LIMIT_EXCEEDED", "code")
    assert code(await login(anna, app.code())) == "429 RATE_LIMIT_EXCEEDED"


async def test_a_restart_forgives_no_guess(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, _ = await with_codes(anna)
    for _ in range(5):
        await login(anna, WRONG)
    async with open_node(any_node.stores, any_node.clock) as after, after.client(address="10.8.8.8") as client:
        body = {"email": anna.email, "password": PASSWORD, "totp": app.code()}
        assert code(await client.post("/auth/login", json=body)) == "429 RATE_LIMIT_EXCEEDED"


# -- recovery codes ---------------------------------------------------------------------------------------------------


async def test_each_recovery_code_is_good_once_however_it_is_typed(any_node: Node) -> None:
    anna = await any_node.person("anna")
    _, recovery = await with_codes(anna)
    assert (await login(anna, recovery[0])).status_code == 200
    assert code(await login(anna, recovery[0])) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, recovery[1].upper().replace("-", " "))).status_code == 200
    assert await status(anna) == {"enabled": True, "recovery_codes_left": 8}


async def test_recovery_codes_are_renewed(any_node: Node) -> None:
    anna = await any_node.person("anna")
    app, old = await with_codes(anna)
    assert code(await renew(anna, WRONG)) == "401 INVALID_CREDENTIALS"
    answer = await renew(anna, app.code())
    new = answer.json()["recovery_codes"]
    assert (answer.status_code, len(new)) == (200, 10)
    assert not set(new) & set(old)
    assert code(await login(anna, old[5])) == "401 INVALID_CREDENTIALS"
    again = await renew(anna, new[0])
    assert again.status_code == 200
    assert code(await login(anna, new[1])) == "401 INVALID_CREDENTIALS"
    assert (await login(anna, again.json()["recovery_codes"][9])).status_code == 200


async def test_who_has_no_codes_renews_none(node: Node, anna: Person) -> None:
    assert code(await renew(anna, WRONG)) == "404 CONTENT_NOT_FOUND"


async def test_a_stolen_token_renews_nothing_and_pauses_nobodys_codes(any_node: Node) -> None:
    """Five wrong codes of a thief who had a token and nothing else made the owner wait, for an hour in the end."""
    anna = await any_node.person("anna")
    app, recovery = await with_codes(anna)
    for number in range(6):
        assert code(await renew(anna, WRONG, "wrong horse battery")) == "401 INVALID_CREDENTIALS"
        # While codes are on there is nothing to confirm, so nothing is guessed at there.
        confirm = await anna.client.post("/auth/totp/confirm", json={"code": WRONG})
        assert code(confirm) == "404 CONTENT_NOT_FOUND"
        body = {"code": recovery[number]}
        answer = await anna.client.post("/auth/totp/recovery-codes", json=body)
        assert (code(answer), field(answer)) == ("400 INVALID_PAYLOAD", "password")
    right = await renew(anna, app.code(), "wrong horse battery")
    assert (code(right), field(right)) == ("401 INVALID_CREDENTIALS", None)
    assert await status(anna) == {"enabled": True, "recovery_codes_left": 10}
    assert (await login(anna, app.code())).status_code == 200


async def test_a_stolen_token_keeps_nobody_from_turning_codes_on(any_node: Node) -> None:
    anna = await any_node.person("anna")
    await enable(anna)
    for _ in range(5):
        await anna.client.post("/auth/totp/confirm", json={"code": WRONG})
    # Another secret begins another count, and wants the password.
    app = App(any_node, (await enable(anna)).json()["secret"])
    assert (await anna.client.post("/auth/totp/confirm", json={"code": app.code()})).status_code == 200


# -- what is kept -----------------------------------------------------------------------------------------------------


async def test_no_secret_lies_about(node: Node, anna: Person) -> None:
    app, recovery = await with_codes(anna)
    store = node.stores.sign_in
    assert isinstance(store, MemorySignIn)
    known = await store.totp(anna.id)
    assert known is not None
    assert app.secret not in known.sealed
    assert Seals(SECRET).open(f"totp of {anna.id}", known.sealed) == (app.secret, False)
    hashes = store._totp[anna.id].recovery
    assert len(hashes) == 10
    assert not any(text.encode() in kept for text in recovery for kept in hashes)


async def test_codes_survive_a_new_secret_of_the_server_and_are_sealed_anew(node: Node, anna: Person) -> None:
    app, recovery = await with_codes(anna)
    body = {"email": anna.email, "password": PASSWORD}
    async with open_node(node.stores, node.clock, secrets=("a new secret", SECRET)) as later, later.client() as client:
        assert (await client.post("/auth/login", json=body | {"totp": app.code()})).status_code == 200
    async with open_node(node.stores, node.clock, secrets=("a new secret", None)) as last, last.client() as client:
        assert (await client.post("/auth/login", json=body | {"totp": app.next_code()})).status_code == 200
    # Who was not there meanwhile still has his recovery codes.
    async with open_node(node.stores, node.clock, secrets=("lost", None)) as lost, lost.client() as client:
        answer = await client.post("/auth/login", json=body | {"totp": app.next_code()})
        assert code(answer) == "500 ENCRYPTION_ERROR"
        assert (await client.post("/auth/login", json=body | {"totp": recovery[0]})).status_code == 200


async def test_of_two_nodes_with_the_same_code_one_lets_in(database_url: str, clock: HandClock) -> None:
    """Each has an actor of this user, and neither knows of the other."""
    async with postgres_node(database_url, clock) as here, postgres_node(database_url, clock, "other") as there:
        anna = await here.person("anna")
        app, _ = await with_codes(anna)
        body = {"email": anna.email, "password": PASSWORD, "totp": app.code()}
        statuses: list[int] = []

        async def attempt(node: Node) -> None:
            async with node.client(address="10.8.8.8") as client:
                statuses.append((await client.post("/auth/login", json=body)).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(attempt, here)
                nursery.start_soon(attempt, there)
        assert sorted(statuses) == [
            200,
            401,
            401,
            401,
            401,
            401,
        ]  # the pause is for a sixth
