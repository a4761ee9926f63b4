"""The README's walkthrough, done word for word against a real node."""

import os
import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.system.harness import CHECKOUT, KithNode

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    text = (CHECKOUT / "README.md").read_text("utf-8")
    return [found["text"] for found in BLOCK.finditer(text) if found["language"] == language]


async def test_the_walkthrough(node: KithNode, tmp_path: Path) -> None:
    [walk], [client] = blocks("sh"), blocks("python")
    (tmp_path / "answer.py").write_text(client)
    script = f'set -eu\n{walk}\n"{sys.executable}" answer.py "$KITH" "$BEN_TOKEN" "$CHAT"\n'
    environment = {**os.environ, "KITH": node.url}
    done = await trio.run_process(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    told = done.stdout.decode()
    assert done.returncode == 0, told
    for expected in ('"message_id"', '"text":"Hello Ben"', '"connected"', '"caught_up"', '"ok"'):
        assert expected in told, told


def test_the_readme_names_only_pages_that_exist() -> None:
    text = (CHECKOUT / "README.md").read_text("utf-8")
    pages = re.findall(r"\]\(([^)]+)\)", text)
    assert pages
    assert [page for page in pages if not (CHECKOUT / page).exists()] == []
