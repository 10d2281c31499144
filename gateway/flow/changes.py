"""What every change that an operator makes has in common: its author, what it is about, audit entry, announcement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.forms import check, described, plain
from gateway.domain.managed import AuditEntry, Key, Managed, Tenant, Thing, UnknownName, word_for
from gateway.ports import Announcer, Books

RandomBytes = Callable[[int], bytes]
_ID_BYTES = 9
_TOLD_ANYWAY = frozenset({"id", "version", "created_at"})  # an audit entry has its own target and time


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and the time of it in seconds since the epoch."""

    who: str
    now: float


def new_id(kind: str, random_bytes: RandomBytes) -> str:
    """An id nobody has had, beginning with `kind`."""
    return f"{kind}_{random_bytes(_ID_BYTES).hex()}"


async def the(books: Books, kind: type[Thing], ref: str, also: Collection[str] = ()) -> Thing:
    """The one that `ref` means. UnknownName names the nearest, of those kept or `also` known; InvalidRequest if it can
    mean several.
    """
    found = await books.find(kind, ref) if ref.isprintable() else []  # nothing else was ever kept
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(sorted(thing.id for thing in found))
        raise InvalidRequest(f'"{ref}" can mean {len(found)} {word_for(kind)}s; say which by its id: {ids}.')
    names = [*also, *(thing.name for thing in await books.all(kind))]
    if kind is Key:
        owners = {tenant.id: tenant.name for tenant in await books.all(Tenant)}
        names = [f"{owners[key.tenant_id]}/{key.name}" for key in await books.all(Key)]
    raise UnknownName(word_for(kind), ref, get_close_matches(ref, names, n=2, cutoff=0.5))


async def add(books: Books, author: Author, thing: Managed) -> None:
    """Keep something new that can be kept, with its audit entry."""
    check(thing)
    await books.add(thing)
    await note(books, author, "create", thing, described(thing))


async def note(books: Books, author: Author, action: str, thing: Managed, detail: Mapping[str, Any]) -> None:
    """Write the audit entry of a change; a password in `detail` is told as changed only."""
    told = {name: "(changed)" if name == "password" else plain(value) for name, value in detail.items()}
    told = {name: value for name, value in told.items() if name not in _TOLD_ANYWAY}
    target = thing.name if thing.id == thing.name else f"{thing.name} ({thing.id})"
    await books.note(AuditEntry(author.now, author.who, action, word_for(type(thing)), target, told))


async def announce(announcer: Announcer) -> None:
    """Tell every process; StoreUnavailable says that the change is kept all the same."""
    try:
        await announcer.keys_changed()
    except StoreUnavailable as error:
        raise StoreUnavailable(
            "The change is kept, but running processes could not be told of it: they see it when their key cache"
            " ends. Repeat the command when Redis is back to be sure."
        ) from error
