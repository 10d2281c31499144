"""What the flow needs of the outside, as protocols; adapters fulfil them and `wiring` puts the two together."""

from gateway.ports.books import AdminTokens, Announcer, Bookkeeper, Books, KeyStore, Ledger, SpeedBooks, UsageBooks
from gateway.ports.jobs import (
    Admitted,
    Beat,
    Entry,
    EpochChanged,
    Granted,
    JobStore,
    Leaving,
    Outbox,
    Queued,
    Quota,
    Rate,
    RateState,
    Refused,
    Remembered,
    SeedsNeeded,
    Woken,
)
from gateway.ports.log import Log
from gateway.ports.pool import PoolChanges, PoolNews, PoolStore, SlotView, WaitingJob
from gateway.ports.servers import BackendClient, RawReply

__all__ = [
    "AdminTokens",
    "Admitted",
    "Announcer",
    "BackendClient",
    "Beat",
    "Bookkeeper",
    "Books",
    "Entry",
    "EpochChanged",
    "Granted",
    "JobStore",
    "KeyStore",
    "Leaving",
    "Ledger",
    "Log",
    "Outbox",
    "PoolChanges",
    "PoolNews",
    "PoolStore",
    "Queued",
    "Quota",
    "Rate",
    "RateState",
    "RawReply",
    "Refused",
    "Remembered",
    "SeedsNeeded",
    "SlotView",
    "SpeedBooks",
    "UsageBooks",
    "WaitingJob",
    "Woken",
]
