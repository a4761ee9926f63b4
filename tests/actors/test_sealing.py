"""What is sealed opens for its purpose and for this server, and for nobody else."""

import pytest

from actors.sealing import Seals


def test_what_is_sealed_opens_for_its_purpose_only() -> None:
    seals = Seals("one secret")
    sealed = seals.seal("totp of anna", b"plain")
    assert b"plain" not in sealed
    assert seals.open("totp of anna", sealed) == (b"plain", False)
    assert seals.open("totp of ben", sealed) is None
    assert Seals("another secret").open("totp of anna", sealed) is None
    assert seals.seal("totp of anna", b"plain") != sealed  # a nonce of its own each time


def test_the_previous_secret_still_opens_and_says_so() -> None:
    sealed = Seals("old").seal("purpose", b"plain")
    assert Seals("new", "old").open("purpose", sealed) == (b"plain", True)
    assert Seals("new").open("purpose", sealed) is None


@pytest.mark.parametrize("at", [0, 24, 30, -1])
def test_no_bit_can_be_changed(at: int) -> None:
    seals = Seals("one secret")
    sealed = bytearray(seals.seal("purpose", b"plain text"))
    sealed[at] ^= 1
    assert seals.open("purpose", bytes(sealed)) is None


def test_a_token_survives_the_way_through_a_client() -> None:
    seals = Seals("one secret")
    for size in range(64):
        token = seals.seal_text("purpose", bytes(range(size)))
        assert token.replace("-", "a").replace("_", "a").isalnum()
        assert seals.open_text("purpose", token) == bytes(range(size))


@pytest.mark.parametrize("token", ["", "a", "ab", "%%%", "é", "a" * 39, "a" * 60, "x" * 100_000, "\n", "====", "a\x00"])
def test_what_is_no_token_opens_as_nothing(token: str) -> None:
    assert Seals("one secret").open_text("purpose", token) is None
