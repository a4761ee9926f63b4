"""E-mails, usernames, passwords and profiles: tables of what fits and what does not."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from actors.rules.accounts import (
    check_email,
    check_password,
    check_profile,
    check_username,
    email_key,
    username_from_email,
    username_key,
    username_variants,
)
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.users import UpdateProfile

ID = UserId("0190aaaa-1234-7000-8000-00000000beef")
USERNAME = re.compile(r"[a-zA-Z0-9_]{3,30}")


@pytest.mark.parametrize(
    "email",
    [
        "anna@example.org",
        "a@b.co",
        "Anna.B+tag@Mail.Example.ORG",
        "o'brien_1%x=y@example.org",
        "änna@exämple.de",
        "用户@例子.公司",
        "a" * 64 + "@example.org",
        "a@" + ".".join(["x" * 63] * 2) + ".org",
        "a@1-2.example",
        "a@xn--exmple-cua.de",
    ],
)
def test_emails_that_fit(email: str) -> None:
    assert check_email(email) == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "anna",
        "@example.org",
        "anna@",
        "anna@example",
        "anna@@example.org",
        "an na@example.org",
        "anna@exa mple.org",
        "anna@example.org ",
        "anna@-example.org",
        "anna@example-.org",
        "anna@exam_ple..org",
        "anna@.org",
        "anna@example.org.",
        "anna@127.0.0.1",
        "anna@[127.0.0.1]",
        ".anna@example.org",
        "anna.@example.org",
        "an..na@example.org",
        '"anna b"@example.org',
        "anna<x>@example.org",
        "anna@example.org\n",
        "anna\u0000@example.org",
        "anna\u200b@example.org",
        "a" * 65 + "@example.org",
        "a@" + "x" * 64 + ".org",
        "a@" + ".".join(["x" * 63] * 4) + ".org",
    ],
)
def test_emails_that_do_not(email: str) -> None:
    with pytest.raises(KithError) as refused:
        check_email(email)
    assert refused.value.code is ErrorCode.INVALID_EMAIL


def test_an_email_is_kept_composed_and_compared_folded() -> None:
    assert check_email("rene\u0301e@example.org") == "ren\u00e9e@example.org"
    assert email_key("RENE\u0301E@Example.ORG") == email_key("ren\u00e9e@example.org")
    assert email_key("Straße@example.org") == email_key("STRASSE@example.org")
    assert email_key("anna@example.org") != email_key("ana@example.org")


@given(st.text(max_size=40))
def test_any_text_is_an_email_or_is_refused(text: str) -> None:
    try:
        kept = check_email(text)
    except KithError as error:
        shown = error.details["value"]
    else:
        shown = kept
        assert check_email(kept) == kept
        assert email_key(email_key(kept)) == email_key(kept)
    assert shown is None or shown.isprintable()


@pytest.mark.parametrize("username", ["abc", "Anna_B", "_0_", "a" * 30])
def test_usernames_that_fit(username: str) -> None:
    assert check_username(username) == username


@pytest.mark.parametrize(
    "username", ["", "ab", "a" * 31, "anna b", "anna-b", "änna", "anna\n", "a.b", "١٢٣", "anna\u0000"]
)
def test_usernames_that_do_not(username: str) -> None:
    with pytest.raises(KithError) as refused:
        check_username(username)
    assert refused.value.code is ErrorCode.INVALID_USERNAME


@pytest.mark.parametrize(
    ("email", "username"),
    [
        ("anna@example.org", "anna"),
        ("Anna.B+news@example.org", "Anna_B"),
        ("rené.e@example.org", "rene_e"),
        ("a@example.org", "user_a"),
        ("用户@example.org", "user"),
        ("...@example.org", "user"),
        ("x" * 64 + "@example.org", "x" * 30),
    ],
)
def test_a_username_is_made_from_the_email(email: str, username: str) -> None:
    assert username_from_email(email) == username


@given(st.text(max_size=70))
def test_made_usernames_always_fit(local: str) -> None:
    made = username_from_email(f"{local}@example.org")
    for name in (made, *username_variants(made, ID)):
        assert USERNAME.fullmatch(name)


def test_variants_are_longer_and_longer_tails_of_the_id() -> None:
    assert username_variants("anna", ID) == ("anna_feeb", "anna_feeb0000", "anna_feeb000000000008")
    assert len({username_key(name) for name in username_variants("a" * 30, ID)}) == 3
    assert username_key("Anna") == username_key("aNNA")


def test_passwords_are_long_enough_and_not_too_long() -> None:
    for password in ("eight888", "ä" * 512, "        ", "😀" * 8):
        assert check_password(password) == password
    for password in ("", "seven77", "ä" * 513, "x" * 1_025, "e\u0301" * 7):
        with pytest.raises(KithError) as refused:
            check_password(password)
        assert refused.value.code is ErrorCode.WEAK_PASSWORD
    assert check_password("e\u0301" * 8) == "\u00e9" * 8


def test_a_profile_keeps_what_is_named_and_nothing_else() -> None:
    assert check_profile(UpdateProfile()) == UpdateProfile()
    kept = check_profile(UpdateProfile(bio=" e\u0301 ", display_name="", interests=("A", "a ", "B")))
    assert (kept.bio, kept.display_name, kept.interests) == ("\u00e9", None, ("A", "B"))
    assert (kept.username, kept.avatar_url) == (UNSET, UNSET)


@pytest.mark.parametrize(
    "url", ["http://a.de", "https://a.de:8443/x?y=z#q", "https://[2001:db8::1]/a", "HTTPS://A.DE/ä"]
)
def test_avatar_urls_that_fit(url: str) -> None:
    assert check_profile(UpdateProfile(avatar_url=url)).avatar_url == url


@pytest.mark.parametrize(
    "url",
    ["a.png", "//a.de/x", "data:image/png;base64,AA", "https://", "https://a b.de/", "https://[::1/x", "file:///x"],
)
def test_avatar_urls_that_do_not(url: str) -> None:
    with pytest.raises(KithError) as refused:
        check_profile(UpdateProfile(avatar_url=url))
    assert refused.value.details == {"field": "avatar_url"}


@pytest.mark.parametrize(
    "name",
    [
        "Anna\u202eannA",  # the rest of the line would run backwards
        "\u2066Anna\u2069",
        "An\u200bna",  # looks like Anna and is not
        "Anna\ufeff",
        "An\u00adna",
        "\u3164\u3164",  # letters that show nothing
        "\u2800",
        "\u200d",
        "A\u0301\u0302\u0303\u0304\u0305\u0306nna",  # climbs over the lines above
        "Anna\ue000",
    ],
)
def test_a_name_hides_nothing(name: str) -> None:
    with pytest.raises(KithError) as refused:
        check_profile(UpdateProfile(display_name=name))
    assert refused.value.details == {"field": "display_name"}


@pytest.mark.parametrize(
    "name",
    [
        "Zoë",
        "Nguyễn Thị Ngọc Ánh",
        "محمد رضا",
        "می\u200cخواهم",  # Persian needs its joiner
        "क्\u200dष",
        "👩\u200d👩\u200d👧 & co.",
        "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
        "שרה",
        "ᚠᚢᚦ",
        "7",
        "—",
    ],
)
def test_names_of_any_script_are_welcome(name: str) -> None:
    assert check_profile(UpdateProfile(display_name=name)).display_name == unicodedata.normalize("NFC", name)
