"""The documentation in Chromium, where there is one: it draws itself, obeys its policy, and its forms work."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from tests.system.harness import KithNode

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
START_SECONDS = 30.0
WAIT_SECONDS = 15.0


class Browser:
    """One tab, spoken to in the DevTools protocol."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []  # of the page's console: errors, and what the policy stopped

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_message(json.dumps({"id": self._number, "method": method, "params": params}))
        with trio.fail_after(WAIT_SECONDS):
            while True:
                message = json.loads(await self._socket.get_message())
                told = message.get("params", {})
                if told.get("entry", {}).get("level") in ("error", "warning") or "exceptionDetails" in told:
                    self.complaints.append(json.dumps(told)[:500])
                if message.get("id") == self._number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result

    async def value(self, script: str) -> Any:
        told = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str, named: str) -> Any:
        """Looks again and again at a page that works by itself."""
        found = None
        with trio.move_on_after(WAIT_SECONDS):
            while not (found := await self.value(script)):  # noqa: ASYNC110 - another process's page
                await trio.sleep(0.05)
        assert found, f"waited {WAIT_SECONDS} s for {named}; complaints: {self.complaints}"
        return found


@asynccontextmanager
async def browser_at(url: str, folder: Path) -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-proxy-server",
        f"--user-data-dir={folder}", "--remote-allow-origins=*", "about:blank",
    ]  # fmt: skip
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = folder / "DevToolsActivePort"
        with trio.fail_after(START_SECONDS):
            while not port.exists() or not port.read_text().strip():  # noqa: ASYNC110 - another process's file
                await trio.sleep(0.05)
        number = port.read_text().split()[0]
        async with httpx.AsyncClient(trust_env=False) as http:
            tabs = (await http.get(f"http://127.0.0.1:{number}/json/list")).json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        async with open_websocket_url(tab["webSocketDebuggerUrl"], max_message_size=64 * 1024 * 1024) as socket:
            browser = Browser(socket)
            for domain in ("Log", "Runtime", "Page"):
                await browser.command(f"{domain}.enable")
            await browser.command("Page.navigate", url=url)
            yield browser
    finally:
        process.kill()
        await process.wait()


async def test_the_documentation_in_a_browser(node: KithNode, tmp_path: Path) -> None:
    """Read, search, sign up and ask: all by the page's own forms."""
    async with node.http() as http:
        document = (await http.get("/openapi.json")).json()
    routes = sum(len(methods) for methods in document["paths"].values())
    async with browser_at(f"{node.url.rstrip('/')}/docs#register", tmp_path / "browser") as browser:
        await browser.until("document.querySelector('main')?.getAttribute('aria-busy') === 'false'", "the page")
        assert await browser.value("document.querySelectorAll('details.route').length") == routes
        assert await browser.value("document.querySelectorAll('nav li').length") == routes
        assert await browser.value("document.querySelectorAll('#errors tbody tr').length") == len(
            document["x-error-codes"]
        )
        await search(browser)
        await try_forms(browser)
        await themes(browser)
        await accessible(browser)
        picture = await browser.command("Page.captureScreenshot", format="png")
        assert len(picture["data"]) > 20_000  # not an empty sheet
        assert not browser.complaints


async def search(browser: Browser) -> None:
    await browser.value("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
    assert await browser.value("document.activeElement.id") == "search"
    await type_into(browser, "#search", "before_seq")
    assert await browser.value("document.getElementById('list_messages').hidden") is False
    assert await browser.value("document.getElementById('register').hidden") is True
    assert "of" in await browser.value("document.getElementById('found').textContent")
    await type_into(browser, "#search", "")
    assert await browser.value("document.querySelectorAll('details.route[hidden]').length") == 0


async def try_forms(browser: Browser) -> None:
    """The address opened `register`; its example is a body that works. Its answer signs the other forms in."""
    assert await browser.value("document.getElementById('register').open") is True
    await browser.until("document.querySelector('#register form textarea')?.value", "the form")
    await browser.value("document.querySelector('#register form').requestSubmit()")
    said = await browser.until("document.querySelector('#register form .status')?.textContent", "an answer")
    assert said.startswith("201"), said
    assert await browser.value("document.getElementById('token').value.length") > 100
    await browser.value("document.getElementById('show_user').open = true")
    await browser.until("document.querySelector('#show_user form')", "the form")
    await browser.value("document.querySelector('#show_user form').requestSubmit()")
    await browser.until("document.querySelector('#show_user form .status')?.textContent.startsWith('200')", "a profile")
    assert "anna@example.org" in await browser.value("document.querySelector('#show_user form pre').textContent")
    await browser.value("document.getElementById('list_messages').open = true")
    await browser.until("document.querySelector('#list_messages form')", "the form")
    await browser.value("document.querySelector('#list_messages form').requestSubmit()")
    said = await browser.until("document.querySelector('#list_messages form .status')?.textContent", "what is missing")
    assert said == "Missing: conversation_id"
    assert await browser.value("document.activeElement.name") == "conversation_id"


async def themes(browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = await browser.value(ground)
    await browser.value("document.getElementById('theme').click()")
    assert await browser.value(ground) != before


async def accessible(browser: Browser) -> None:
    """What a screen reader needs: a name for each field, heads of columns, one main part, a way past the head."""
    assert await browser.value("document.documentElement.lang") == "en"
    nameless = "[...document.querySelectorAll('input, textarea')].filter(one => !one.labels?.length && !one.ariaLabel)"
    assert await browser.value(f"{nameless}.length") == 0
    assert await browser.value("[...document.querySelectorAll('th')].every(one => one.scope === 'col')") is True
    assert await browser.value("document.querySelectorAll('main').length") == 1
    assert await browser.value("document.querySelector('a').getAttribute('href')") == "#main"
    repeated = (
        "[...document.querySelectorAll('[id]')].map(one => one.id).filter((id, at, all) => all.indexOf(id) !== at)"
    )
    assert await browser.value(repeated) == []


async def type_into(browser: Browser, selector: str, text: str) -> None:
    words = json.dumps(text)
    await browser.value(
        f"(field => {{ field.value = {words}; field.dispatchEvent(new Event('input')); }})"
        f"(document.querySelector({json.dumps(selector)}))"
    )
