"""Virtual time: unmodified actors and asyncio code in one process, in an order that a seed decides and replays."""

from understudy.simulation.cluster import Cluster
from understudy.simulation.errors import EverybodyWaits, NotDeterministic, NotVirtual, SimulationError, StillRunning
from understudy.simulation.keys import MemoryKeys
from understudy.simulation.loop import SimulatedLoop
from understudy.simulation.network import VirtualNetwork
from understudy.simulation.process import Crashed, Process
from understudy.simulation.simulation import Simulation, compare, same, simulate
from understudy.simulation.table import VirtualTable
from understudy.simulation.trace import Trace

__all__ = [
    "Cluster",
    "Crashed",
    "EverybodyWaits",
    "MemoryKeys",
    "NotDeterministic",
    "NotVirtual",
    "Process",
    "SimulatedLoop",
    "Simulation",
    "SimulationError",
    "StillRunning",
    "Trace",
    "VirtualNetwork",
    "VirtualTable",
    "compare",
    "same",
    "simulate",
]
