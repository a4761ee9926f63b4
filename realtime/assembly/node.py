"""A node put together out of its core, its population and its edges; nothing runs yet."""

import trio
from msgspec import Struct

from actors.shapes.times import iso
from realtime.assembly.core import Core, make_core
from realtime.assembly.edges import gateway_options, make_gate, make_services
from realtime.assembly.ids import new_id
from realtime.assembly.population import Population, populate
from realtime.exposition import (
    expose_actors,
    expose_bus,
    expose_gateway,
    expose_journal,
    expose_sweep,
    expose_tasks,
)
from realtime.gateway.gateway import Gateway, Timekeeping
from realtime.reception import FrontDoor
from realtime.settings import Settings
from realtime.workers.crew import Crew
from storage.epoch import epoch_of
from storage.postgres import Postgres
from webapi.app import create_app


class Node(Struct, frozen=True):
    """The parts that have a life; everything else hangs on them."""

    core: Core
    population: Population
    gateway: Gateway
    serving: trio.Event
    stopping: trio.Event


async def assemble(settings: Settings, postgres: Postgres, crew: Crew | None = None) -> Node:
    """Make all parts and introduce them to each other; nothing runs yet."""
    core = await make_core(settings, postgres, crew)
    population = populate(core)
    gate = make_gate(core, population, await epoch_of(postgres))
    serving, stopping = trio.Event(), trio.Event()
    services = make_services(core, population, lambda: serving.is_set() and not stopping.is_set())
    latency = core.metrics.spread("delivery_seconds", "From the last byte of a command read to its event sent")
    gateway = Gateway(
        FrontDoor(gate, lambda: f"req_{new_id()}"),
        gateway_options(settings),
        Timekeeping(core.clock.monotonic, lambda: iso(core.clock.now()), latency.observe),
        create_app(services),
    )
    if crew is not None:
        crew.connections = lambda: gateway.counters.connections
        gateway.admission.fewest_elsewhere = lambda: crew.fewest
    expose_tasks(core.metrics)
    expose_journal(core.metrics, core.journal)
    expose_gateway(core.metrics, gateway.counters)
    expose_actors(core.metrics, population.system)
    sweep, bus = population.sweep, core.bus
    expose_sweep(core.metrics, sweep.counters, lambda: float(sweep.others))
    if bus is not None:
        expose_bus(core.metrics, bus.counters, lambda: float(bus.connected))
    return Node(core, population, gateway, serving, stopping)
