"""The answer to COMMIT gets lost with rows beside the units: tombstones and keys are there once, and truly told."""

import pytest

from actors.ports import Beside, BirthUnit, Committed, KeysUsed, Taken
from actors.shapes.idempotency import KeyRow
from actors.shapes.times import WallTime
from tests.clocks import START
from tests.proxy.cutting import Fault
from tests.storage.test_journal_beside import deleting, keyed, three, tombstone, with_key
from tests.storage.worlds import TOKEN, batch, birth, message
from tests.system.test_lost_commit import CUTS, Cut, cut, lanes

__all__ = ["cut", "lanes"]  # fixtures


@pytest.mark.parametrize("fault", CUTS)
async def test_a_deletion_is_told_truly(cut: Cut, fault: Fault) -> None:
    talk, said = await three(cut.world)
    cut.once(fault)
    unit = deleting(talk, [tombstone(said[0], 5, talk.a)], (message(talk.id, talk.b, 4, 6, "new"),))
    assert await cut.world.journal.append(TOKEN, unit) == Committed()
    assert cut.proxy.cuts[fault] == 1
    page = await cut.world.conversations.history(talk.id, 1, None, None, 10)
    assert [(m.rev, m.text) for m in page.messages] == [(6, "new"), (4, "text 3"), (3, "text 2"), (5, None)]


@pytest.mark.parametrize("fault", CUTS)
async def test_a_key_is_not_met_by_its_own_repetition(cut: Cut, fault: Fault) -> None:
    """The repeated flush finds the key it wrote itself; taken for somebody else's, the message would be denied."""
    talk, _ = await three(cut.world)
    cut.once(fault)
    first = with_key(batch(talk.id, 4, [message(talk.id, talk.a, 4, 5)]), keyed(talk.a), '"first"')
    assert await cut.world.journal.append(TOKEN, first) == Committed()
    cut.once(fault)
    second = with_key(batch(talk.id, 5, [message(talk.id, talk.a, 5, 6)]), keyed(talk.a), '"second"')
    assert await cut.world.journal.append(TOKEN, second) == KeysUsed(frozenset({(talk.a, "k")}))
    assert len(await cut.world.stored(talk.id)) == 4
    kept = await cut.world.keys.find(talk.a, "k", WallTime(START))
    assert kept is not None
    assert kept.outcome == '"first"'


@pytest.mark.parametrize("fault", CUTS)
async def test_a_birth_and_its_key_are_there_together(cut: Cut, fault: Fault) -> None:
    a, b = await cut.world.add_user("anna"), await cut.world.add_user("bert")
    for key, row in (("k", birth(a, b).row), ("l", birth(b, a).row)):
        cut.once(fault)
        receipt = await cut.world.journal.append(TOKEN, BirthUnit(row, Beside(keys=(KeyRow(keyed(a, key), '"x"'),))))
        there = await cut.world.keys.find(a, key, WallTime(START)) is not None
        assert (isinstance(receipt, Committed), there) == ((True, True) if key == "k" else (False, False))
    assert isinstance(receipt, Taken)
