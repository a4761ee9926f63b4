"""Which limits of the kernel a node would run into before its own."""

from pathlib import Path

from realtime.commands.doctor.report import Report, Rows
from realtime.listeners import BACKLOG
from realtime.settings import Settings

SYSCTLS = (
    "net/core/somaxconn",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/ip_local_port_range",
    "net/netfilter/nf_conntrack_max",
    "fs/nr_open",
)
LEAST_SYN_BACKLOG = 1_024


def kernel_rows(settings: Settings, report: Report, root: Path = Path("/proc/sys")) -> Rows:
    """Nothing where there is no /proc; what this kernel does not have is left out."""
    found = {name: text for name in SYSCTLS if (text := _read(root / name))}
    numbers = {name: int(text) for name, text in found.items() if text.isdecimal()}
    queue = numbers.get("net/core/somaxconn", BACKLOG)
    if queue < BACKLOG:
        report.note(
            f"net.core.somaxconn is {queue}.",
            f"Of a crowd that comes back at once all but {queue} wait a second or more: set it to {BACKLOG}.",
        )
    if numbers.get("net/ipv4/tcp_max_syn_backlog", LEAST_SYN_BACKLOG) < LEAST_SYN_BACKLOG:
        report.note(
            f"net.ipv4.tcp_max_syn_backlog is {numbers['net/ipv4/tcp_max_syn_backlog']}.",
            f"Connections are dropped half way when many come at once: set it to {LEAST_SYN_BACKLOG} or more.",
        )
    tracked = numbers.get("net/netfilter/nf_conntrack_max")
    if tracked is not None and tracked < 2 * settings.max_connections:
        report.note(
            f"net.netfilter.nf_conntrack_max is {tracked} and MAX_CONNECTIONS {settings.max_connections}.",
            "The firewall's table fills up, and then packets are dropped without a word.",
        )
    _judge_ports(settings, found.get("net/ipv4/ip_local_port_range", ""), report)
    return [(name.replace("/", "."), text) for name, text in found.items()]


def _judge_ports(settings: Settings, ports: str, report: Report) -> None:
    try:
        low, high = map(int, ports.split())
    except ValueError:
        return
    if low <= settings.port <= high:
        report.note(
            f"PORT is {settings.port}, which the kernel also gives to outgoing connections ({low} to {high}).",
            "A restart can find it taken: choose one below, or add it to net.ipv4.ip_local_reserved_ports.",
        )
    near = any(net.startswith(("127.", "::1")) for net in settings.trusted_proxies)
    if near and high - low < settings.max_connections:
        report.note(
            f"net.ipv4.ip_local_port_range has {high - low + 1} ports, for MAX_CONNECTIONS={settings.max_connections}.",
            "A proxy on this machine needs one for each client that it passes on.",
        )


def _read(path: Path) -> str:
    try:
        return " ".join(path.read_text().split())
    except OSError:
        return ""
