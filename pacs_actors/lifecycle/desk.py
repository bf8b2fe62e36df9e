"""What the web asks of the lifecycle. Made once per worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from pacs_actors.lifecycle.copies import Copies
from pacs_actors.lifecycle.lifecycle_scheduler import LifecycleScheduler
from pacs_actors.lifecycle.moves import Moves
from pacs_actors.lifecycle.policies import Tier
from pacs_actors.lifecycle.policy_book import PolicyBook
from pacs_actors.lifecycle.replicator_book import ReplicatorBook
from pacs_actors.lifecycle.storage_figures import StorageFigures
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.nodes import Nodes


class LifecycleDesk(Struct, frozen=True):
    """look: tells the movers that there is something to do"""

    copies: Copies
    moves: Moves
    policies: PolicyBook
    scheduler: LifecycleScheduler
    figures: StorageFigures
    tiers: Mapping[str, Tier]
    stores: Mapping[str, TierStore]
    look: Callable[[], None]
    nodes: Nodes
    replication: ReplicatorBook
