"""Access tokens: PyJWT, which had no part in making them, agrees; and every forgery we know of is refused."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import Seconds, WallTime
from actors.tokens import TokenAuthority, hash_refresh_token, new_refresh_token

USER = UserId("0190aaaa-0000-7000-8000-000000000001")
LOGIN = LoginId("0190aaaa-0000-7000-8000-000000000002")
NOW = WallTime(1_795_000_000_123)
SECRET = "a secret of the node's own choosing"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(authority: TokenAuthority, token: str, now: WallTime = NOW) -> ErrorCode:
    with pytest.raises(KithError) as refused:
        authority.verify(token, now)
    return refused.value.code


def test_says_who_and_for_how_long() -> None:
    claims = TokenAuthority(SECRET).verify(TokenAuthority(SECRET).issue(USER, LOGIN, NOW), NOW)
    assert (claims.user_id, claims.login_id) == (USER, LOGIN)
    assert (claims.issued_at, claims.expires_at) == (1_795_000_000_000, 1_795_000_900_000)


def test_another_implementation_reads_it_by_the_published_key() -> None:
    authority = TokenAuthority(SECRET)
    token = authority.issue(USER, LOGIN, NOW)
    keys = jwt.PyJWKSet.from_dict(authority.jwks())
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(
        token,
        keys[kid].key,
        algorithms=["EdDSA"],
        audience="kith",
        issuer="kith",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims == {
        "sub": USER,
        "sid": LOGIN,
        "iat": 1_795_000_000,
        "exp": 1_795_000_900,
        "iss": "kith",
        "aud": "kith",
    }
    assert not any("d" in key for key in authority.jwks()["keys"])  # the private half stays here


def test_the_end_is_decided_by_our_clock_to_the_millisecond() -> None:
    authority = TokenAuthority(SECRET, lifetime=Seconds(60))
    token = authority.issue(USER, LOGIN, NOW)
    authority.verify(token, WallTime(1_795_000_059_999))
    assert refusal(authority, token, WallTime(1_795_000_060_000)) is ErrorCode.TOKEN_EXPIRED
    longer = authority.issue(USER, LOGIN, NOW, Seconds(86_400))
    authority.verify(longer, WallTime(1_795_086_399_999))


def test_rotation_accepts_the_previous_secret_and_signs_with_the_new_one() -> None:
    old = TokenAuthority("old secret")
    both = TokenAuthority("new secret", previous="old secret")
    new = TokenAuthority("new secret")
    both.verify(old.issue(USER, LOGIN, NOW), NOW)
    new.verify(both.issue(USER, LOGIN, NOW), NOW)
    assert refusal(new, old.issue(USER, LOGIN, NOW)) is ErrorCode.INVALID_TOKEN
    assert len(both.jwks()["keys"]) == 2
    assert len({key["kid"] for key in both.jwks()["keys"]}) == 2


def forge(change: Callable[[dict[str, Any]], None]) -> str:
    """A token with our own valid signature over another payload."""
    authority = TokenAuthority(SECRET)
    header, payload, _ = authority.issue(USER, LOGIN, NOW).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    change(claims)
    text = f"{header}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{authority._key.sign(text)}"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(iss="somebody"),
        lambda c: c.update(aud="other service"),
        lambda c: c.update(sub="root"),
        lambda c: c.update(sid=7),
        lambda c: c.pop("sid"),
        lambda c: c.pop("exp"),
        lambda c: c.update(exp="later"),
        lambda c: c.update(exp=None),
    ],
)
def test_a_signature_does_not_make_wrong_claims_right(
    change: Callable[[dict[str, Any]], None],
) -> None:
    assert refusal(TokenAuthority(SECRET), forge(change)) is ErrorCode.INVALID_TOKEN


def test_a_token_cannot_choose_its_algorithm_or_its_key() -> None:
    authority = TokenAuthority(SECRET)
    claims = {"sub": USER, "sid": LOGIN, "iat": 1, "exp": 2**40, "iss": "kith", "aud": "kith"}
    public = base64.urlsafe_b64decode(authority.jwks()["keys"][0]["x"] + "==")
    kid = authority.jwks()["keys"][0]["kid"]
    forged = [
        jwt.encode(claims, "", algorithm="none", headers={"kid": kid}),
        jwt.encode(claims, public, algorithm="HS256", headers={"kid": kid}),
        jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": kid}),
        TokenAuthority("mine").issue(USER, LOGIN, NOW),
    ]
    other = TokenAuthority("mine").issue(USER, LOGIN, NOW).split(".")
    ours = authority.issue(USER, LOGIN, NOW).split(".")
    forged += [
        f"{ours[0]}.{other[1]}.{other[2]}",  # our header over a foreign signature
        f"{ours[0]}.{ours[1]}.",
        f"{ours[0]}.{ours[1]}",
        f".{ours[1]}.{ours[2]}",
        f"{ours[0]}..{ours[2]}",
    ]
    assert {refusal(authority, token) for token in forged} == {ErrorCode.INVALID_TOKEN}


def test_every_single_character_counts() -> None:
    """The last character of base64 carries spare bits: a lenient decoder takes several spellings of one token."""
    authority = TokenAuthority(SECRET)
    token = authority.issue(USER, LOGIN, NOW)
    for place in range(len(token)):
        for other in "AQ_-.":
            if token[place] != other:
                changed = token[:place] + other + token[place + 1 :]
                assert refusal(authority, changed) is ErrorCode.INVALID_TOKEN
    assert refusal(authority, token + "=") is ErrorCode.INVALID_TOKEN
    assert refusal(authority, token + "A" * 2_000) is ErrorCode.INVALID_TOKEN


@given(st.text(max_size=80))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    authority = _AUTHORITY
    header = authority.issue(USER, LOGIN, NOW).split(".")[0]
    assert refusal(authority, text) is ErrorCode.INVALID_TOKEN
    assert refusal(authority, f"{header}.{text}") is ErrorCode.INVALID_TOKEN


_AUTHORITY = TokenAuthority(SECRET)


def test_refresh_tokens_are_random_and_hashed() -> None:
    tokens = {new_refresh_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 for token in tokens)
    assert len(hash_refresh_token(tokens.pop())) == 32
