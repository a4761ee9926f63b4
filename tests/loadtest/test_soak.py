from pathlib import Path

import pytest
import trio

from loadtest import crowd, node, provision, roster
from tests.loadtest.fault_proxy import FaultProxy
from tests.loadtest.test_swarm import listening, swarming

MESSAGES = 40_000


@pytest.mark.soak
async def test_one_frame_in_ten_thousand_is_missed_by_nobody(tmp_path: Path) -> None:
    """The same accounts as against the small server, but against Kith itself and at the rate that PROOFS names."""
    with node.folder() as var, node.running(var) as kith:
        file = tmp_path / "provisioned"
        secret = (var / "secret").read_text().strip()
        await trio.to_thread.run_sync(provision.provision, kith.database_url, secret, crowd.Request(50), file)
        proxy = FaultProxy(int(kith.url.rsplit(":", 1)[1]), one_in=10_000, watched_until=MESSAGES * 2)
        async with listening(proxy.serve) as port:
            told = await swarming(
                tmp_path, roster.read(file), port, mode="open", rate=1_000.0, seconds=60.0, messages=MESSAGES
            )
    assert proxy.done, "nothing was tampered with"
    seen = {name: getattr(told.totals, name) for name in told.totals.__struct_fields__}
    wanted = dict(proxy.expected())
    assert {name: seen[name] for name in wanted} == wanted
    assert (told.totals.sent, told.totals.refused, told.wrong_samples) == (MESSAGES, 0, [])
