import uuid
from pathlib import Path

import pytest
import trio

from actors.shapes.ids import ConversationId, UserId
from actors.shapes.times import WallTime
from actors.tokens import TokenAuthority
from loadtest import crowd, provision, roster
from storage.postgres import Statements, run_once

SECRET = "a secret of this test, long enough for it"


def counted(url: str, sql: str) -> int:
    async def ask(database: Statements) -> int:
        return await database.fetchval(int, sql) or 0

    return trio.run(run_once, url, ask)


@pytest.fixture
def lines(database_url: str, tmp_path: Path) -> list[roster.Line]:
    file = tmp_path / "users"
    assert provision.provision(database_url, SECRET, crowd.Request(30, 2, 5), file) == 70
    assert file.stat().st_mode & 0o777 == 0o600, "it holds tokens"
    return roster.read(file)


def test_the_file_has_one_line_per_user_and_pairs_name_each_other(lines: list[roster.Line]) -> None:
    assert len({line.user_id for line in lines}) == len(lines) == 70
    pairs, grouped = lines[:60], lines[60:]
    for a, b in zip(pairs[::2], pairs[1::2], strict=True):
        assert (a.peer_user_id, b.peer_user_id) == (b.user_id, a.user_id)
        assert a.conversation_id == b.conversation_id
    assert {line.peer_user_id for line in grouped} == {"-"}
    assert sorted(
        sum(line.conversation_id == one for line in grouped) for one in {g.conversation_id for g in grouped}
    ) == [5, 5]


def test_tokens_hold_for_a_day_and_name_real_sessions(lines: list[roster.Line], database_url: str) -> None:
    now = counted(database_url, provision.NOW)
    authority = TokenAuthority(SECRET)
    claims = [authority.verify(line.access_token, WallTime(now)) for line in lines]
    assert [claim.user_id for claim in claims] == [line.user_id for line in lines]
    assert all(23.9 < (claim.expires_at - now) / 3_600_000 <= 24 for claim in claims)
    names = ",".join(f"('{claim.login_id}'::uuid, '{claim.user_id}'::uuid)" for claim in claims)
    real = (
        f"select count(*) from sessions where (id, user_id) in ({names}) and revoked_at is null and expires_at > now()"
    )
    assert counted(database_url, real) == 70


def test_rows_are_what_the_server_would_have_made(lines: list[roster.Line], database_url: str) -> None:
    assert counted(database_url, "select count(*) from users where limits = 'load' and status = 'active'") == 70
    fresh = "select count(*) from conversations where rev = 1 and seq = 0 and privacy_mode = 'standard' and type = "
    assert counted(database_url, fresh + "'direct' and member_count = 2") == 30
    assert counted(database_url, fresh + "'group' and member_count = 5") == 2
    assert counted(database_url, "select count(*) from conversation_members where joined_rev = 1 and rev = 1") == 70
    assert counted(database_url, "select count(*) from conversation_members where role = 'owner'") == 2
    heads = "select count(*) from flushes, jsonb_array_elements(heads) h join conversations c on h->>1 = c.id::text"
    assert counted(database_url, heads) == 32


def test_a_second_run_adds_and_never_collides(lines: list[roster.Line], database_url: str, tmp_path: Path) -> None:
    again = tmp_path / "again"
    provision.provision(database_url, SECRET, crowd.Request(30), again)
    assert not {line.user_id for line in lines} & {line.user_id for line in roster.read(again)}
    assert counted(database_url, "select count(*) from users") == 130


def test_many_are_signed_by_several_processes_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "PEOPLE_PER_SIGNER", 7)
    gatherings = list(crowd.gatherings(crowd.Request(10), "test"))
    now = WallTime(1_800_000_000_000)
    authority = TokenAuthority(SECRET)
    for line in provision.sign_all(SECRET, now, gatherings):
        assert authority.verify(line.access_token, now).user_id == line.user_id


def test_a_crowd_is_cut_into_whole_gatherings() -> None:
    every = list(crowd.gatherings(crowd.Request(7, 3, 4), "test"))
    cut = list(crowd.batches(iter(every), 6))
    assert [g for batch in cut for g in batch] == every
    assert all(6 <= sum(len(g.members) for g in batch) < 6 + 4 for batch in cut[:-1])


@pytest.mark.parametrize(
    "text", ["a b c", "x y z -", f"{uuid.uuid4()} token {uuid.uuid4()} {str(uuid.uuid4()).upper()}"]
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users"
    file.write_text(f"{uuid.uuid4()} token {uuid.uuid4()} -\n{text}\n")
    with pytest.raises(roster.RosterError, match="line 2"):
        roster.read(file)


def test_ids_are_the_types_the_server_uses(lines: list[roster.Line]) -> None:
    ids = [UserId(line.user_id) for line in lines] + [ConversationId(line.conversation_id) for line in lines]
    assert all(uuid.UUID(name).version == 7 for name in ids)
