"""What one key sees of the server: its options. Nothing here reaches a backend, and nothing of another key is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.catalogue import Catalogue, Model, is_granted
from gateway.domain.catalogue.names import without_suffix
from gateway.domain.errors import Forbidden, NotGranted, StoreUnavailable, UnknownModel
from gateway.domain.keys import Caller
from gateway.domain.models import resolve_model
from gateway.domain.options import MODEL, VAE, shown, sorted_out
from gateway.domain.parameters import OperatorPolicy
from gateway.ports import OptionChange, OptionStore, Posted

MOST_REMEMBERED = 10_000


def granted_models(caller: Caller, catalogue: Catalogue) -> tuple[Model, ...]:
    """The checkpoints of the pool that this key may use, in the catalogue's order."""
    return tuple(model for model in catalogue.models if is_granted(model, caller.grants))


def require_a_model(caller: Caller, catalogue: Catalogue) -> tuple[Model, ...]:
    """The granted checkpoints. Raises Forbidden if there is none: such a key can generate nothing."""
    models = granted_models(caller, catalogue)
    if not models:
        raise Forbidden("This key may not use any image model. Ask the operator to grant one.")
    return models


def shown_model(
    caller: Caller, catalogue: Catalogue, operator: OperatorPolicy, stored: Mapping[str, Any]
) -> tuple[str, Model | None]:
    """The checkpoint that a call without a name would use, by name and as it is in the pool.

    A posted one that cannot be used (any more) is shown as it was posted, with None: such a call says so, too.
    """
    overrides = caller.overrides.default.get(MODEL)
    for wanted in (stored.get(MODEL), overrides or caller.default_model, operator.default_model):
        if not wanted:
            continue
        try:
            model = resolve_model(str(wanted), catalogue, caller.grants, operator.model_aliases)
        except (UnknownModel, NotGranted):
            return (str(wanted), None) if wanted == stored.get(MODEL) else ("", None)
        return model.name, model
    granted = granted_models(caller, catalogue)
    return (granted[0].name, granted[0]) if len(granted) == 1 else ("", None)


class OwnOptions:
    """A key's virtual options: one round trip to the store each time, but for jobs.

    A job is shaped by what this process last saw, and entering asks whether that is still so. While the store is away
    a key is shown what was last seen, too.
    """

    def __init__(self, store: OptionStore) -> None:
        self._store = store
        self._last_seen: dict[str, Posted] = {}

    async def kept(self, caller: Caller) -> Posted:
        """What this key has posted. Raises StoreUnavailable."""
        stored = await self._store.options(caller.key_id)
        self._last_seen.pop(caller.key_id, None)
        self._last_seen[caller.key_id] = stored
        if len(self._last_seen) > MOST_REMEMBERED:
            del self._last_seen[next(iter(self._last_seen))]
        return stored

    async def last_seen(self, caller: Caller) -> Posted:
        """The same as this process last saw it, perhaps changed since. Raises StoreUnavailable."""
        return self._last_seen.get(caller.key_id) or await self.kept(caller)

    async def seen(self, caller: Caller) -> Mapping[str, Any]:
        """The values, to be shown only: what was last seen here while the store is away."""
        try:
            return (await self.kept(caller)).values
        except StoreUnavailable:
            return self._last_seen.get(caller.key_id, Posted()).values

    async def view(self, caller: Caller, catalogue: Catalogue, operator: OperatorPolicy) -> dict[str, Any]:
        """The options as this key sees them; `sd_model_checkpoint` is what a call that names no model would use.

        Raises Forbidden for a key that may use no model.
        """
        require_a_model(caller, catalogue)
        stored = await self.seen(caller)
        name, model = shown_model(caller, catalogue, operator, stored)
        return {MODEL: name, "sd_checkpoint_hash": model.sha256 if model else "", **shown(stored, catalogue.options)}

    async def post(
        self, caller: Caller, catalogue: Catalogue, operator: OperatorPolicy, posted: Mapping[str, Any]
    ) -> dict[str, bool]:
        """What became of each posted option. Raises UnknownModel, then nothing is changed.

        A model that cannot be found (any more) is no error when it is the one that this key was shown: clients post
        back what they read.
        """
        require_a_model(caller, catalogue)
        sorted_ = sorted_out(posted, catalogue.options)
        keep, ignored = dict(sorted_.kept), set(sorted_.ignored)
        problem: UnknownModel | None = None
        if sorted_.model:
            try:
                keep[MODEL] = resolve_model(sorted_.model, catalogue, caller.grants, operator.model_aliases).name
            except (UnknownModel, NotGranted) as error:
                problem = UnknownModel(str(error))
                ignored.add(MODEL)
        if sorted_.vae:
            known = _vae(sorted_.vae, catalogue)
            keep |= {VAE: known} if known else {}
            ignored |= set() if known else {VAE}
        change = OptionChange(keep, sorted_.remembered, sorted_.forgotten, sorted_.model if problem else "")
        if keep or change.remember or change.forget or problem:
            kept = await self._store.change_options(caller.key_id, change)
            if problem is not None and kept.is_refused:
                raise problem
            ignored |= sorted_.remembered.keys() - kept.remembered
        return {name: name not in ignored for name in posted}


def _vae(wanted: str, catalogue: Catalogue) -> str:
    """The pool's spelling of a VAE, with its extension or not; "" if no backend has it. "None" is one everywhere."""
    if wanted.lower() == "none":
        return "None"
    exact = catalogue.spelling("vaes", wanted)
    plain = without_suffix(wanted).lower()
    near = (name for name in catalogue.listed("vaes") if without_suffix(name).lower() == plain)
    return exact or next(near, "")
