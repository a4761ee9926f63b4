"""What only the portable transport does: TLS inside the process, and life without epoll."""

import datetime
import ipaddress
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from quart import request
from quart_trio import QuartTrio
from trio.testing import MockClock

from realtime.gateway.gateway import takes_epoll
from realtime.gateway.options import GatewayOptions
from realtime.wire.handshake import client_answer, client_request
from tests.gateway.harness import KEY, Served, serving

WITHOUT_EPOLL = """
import select
for name in [name for name in dir(select) if "epoll" in name.lower()]:
    delattr(select, name)
import realtime.gateway.gateway
from realtime.gateway.ending import State
from realtime.gateway.portable import Portable
"""


def test_without_epoll_the_gateway_can_be_imported() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_EPOLL], check=True, cwd=Path(__file__).parents[2])


def test_auto_takes_epoll_where_it_can() -> None:
    assert takes_epoll(GatewayOptions()) is (sys.platform == "linux")
    assert not takes_epoll(GatewayOptions(tls=ssl.create_default_context()))
    assert not takes_epoll(GatewayOptions(transport="portable"))


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's, around a certificate made for this run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(certificate.public_bytes(pem) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def over_tls(served: Served, client: ssl.SSLContext, first: bytes = b"") -> trio.SSLStream[trio.SocketStream]:
    plain = await trio.open_tcp_stream("127.0.0.1", served.port)
    if first:
        await plain.send_all(first)
    return trio.SSLStream(plain, client, server_hostname="127.0.0.1", https_compatible=True)


async def test_a_websocket_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext], mock_clock: MockClock) -> None:
    async with serving(GatewayOptions(tls=contexts[0])) as served:
        stream = await over_tls(served, contexts[1])
        await stream.send_all(client_request("h", "/ws", KEY))
        answer = client_answer(bytes(await stream.receive_some()))
        assert answer is not None
        assert answer.status == 101
        assert served.door.requests[0].secure
        await stream.send_all(bytes.fromhex("818537fa213d7f9f4d5158"))
        assert bytes(await stream.receive_some()) == b"\x81\x05Hello"


async def test_http_over_tls_behind_a_proxy_header(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], mock_clock: MockClock
) -> None:
    """The layers in their order: PROXY in clear, then TLS, then HTTP."""
    app = QuartTrio("web")

    @app.get("/")
    async def who() -> str:
        return f"{request.scheme} {request.remote_addr}"

    async with serving(GatewayOptions(tls=contexts[0], trusted_proxies=("127.0.0.1",)), app) as served:
        stream = await over_tls(served, contexts[1], b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n")
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        said = b""
        while data := await stream.receive_some():
            said += bytes(data)
        assert said.endswith(b"https 192.0.2.9")


async def test_tls_offers_no_http2(contexts: tuple[ssl.SSLContext, ssl.SSLContext], mock_clock: MockClock) -> None:
    for context in contexts:
        context.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(GatewayOptions(tls=contexts[0])) as served:
        stream = await over_tls(served, contexts[1])
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "http/1.1"


async def test_plain_http_on_the_tls_port(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], mock_clock: MockClock
) -> None:
    async with serving(GatewayOptions(tls=contexts[0])) as served:
        client = await served.connect()
        await client.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.rest()
        await client.aclose()
        await served.until(lambda: served.counters.accepted == 1 and served.counters.connections == 0)
