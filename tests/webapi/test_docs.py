"""The pages: what greets a newcomer, and what shows the document to people."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.webapi.node import Node
from webapi.app import SHELF

PAGES = {
    "/": "text/html; charset=utf-8",
    "/docs": "text/html; charset=utf-8",
    "/docs.css": "text/css; charset=utf-8",
    "/docs.js": "text/javascript; charset=utf-8",
    "/openapi.json": "application/json",
}
SCRIPT = Path(__file__).with_name("docs_page_test.mjs")


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_open_tagged_and_small_on_the_way(node: Node, path: str) -> None:
    async with node.client(prefix="") as client:
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        again = await client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
        other = await client.get(path, headers={"Accept-Encoding": "identity", "If-None-Match": packed.headers["ETag"]})
    assert plain.status_code == packed.status_code == 200
    assert plain.headers["Content-Type"] == packed.headers["Content-Type"] == PAGES[path]
    assert plain.content == packed.content
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"])
    assert plain.headers["Vary"] == packed.headers["Vary"] == again.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"].startswith('"')  # strong, so each of the two has its own
    assert plain.headers["ETag"] != packed.headers["ETag"] == again.headers["ETag"]
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    assert "Content-Encoding" not in again.headers


@pytest.mark.parametrize("path", ["/", "/docs", "/docs.css", "/docs.js"])
async def test_pages_may_load_what_is_ours_and_nothing_else(node: Node, path: str) -> None:
    async with node.client(prefix="") as client:
        answer = await client.get(path)
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert len(answer.headers.get_list("Content-Security-Policy")) == 1
    # What the policy would stop must not be there, or a part of the page would be missing.
    assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", answer.text)
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", answer.text)


async def test_a_newcomer_finds_his_way_from_the_address_alone(node: Node) -> None:
    async with node.client(prefix="") as client:
        welcome = await client.get("/")
        for path in re.findall(r'href="(/[^"#]*)', welcome.text):
            assert (await client.get(path)).status_code == 200, path


async def test_what_the_pages_name_is_there(node: Node) -> None:
    leaves = {name: leaf.plain.decode() for name, leaf in SHELF.leaves.items()}
    page, script = leaves["docs.html"], leaves["docs.js"]
    ids = set(re.findall(r'id="([\w-]+)"', page))
    assert set(re.findall(r'getElementById\("([\w-]+)"\)', script)) <= ids
    assert {"search", "token", "theme", "contents", "routes", "errors", "schemas"} <= ids
    for name in ("docs.html", "welcome.html"):
        assert "<title>" in leaves[name]
        assert 'lang="en"' in leaves[name]
    classes = set(re.findall(r'class: "([\w -]+)"', script)) | set(re.findall(r'class="([\w -]+)"', page))
    styled = set(re.findall(r"\.([a-z]+)", leaves["docs.css"]))
    assert {word for group in classes for word in group.split()} - styled == {"token"}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's functions")
def test_the_functions_of_the_page(tmp_path: Path) -> None:
    """Types, examples, bounds, search and requests, on the document that this server gives."""
    document = tmp_path / "openapi.json"
    document.write_bytes(SHELF.leaves["openapi.json"].plain)
    script = tmp_path / "docs.cjs"
    script.write_bytes(SHELF.leaves["docs.js"].plain)
    ran = subprocess.run(
        ["node", "--test", str(SCRIPT)],
        env={"DOCUMENT": str(document), "PAGE": str(script), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(document.read_text())["openapi"] in ran.stdout
