"""A txt2img or img2img job from the lock to the reply.

Read `Generation.run` from top to bottom: it is the order in which SD.Next does things, and so the order in which it
fails. What the request gets wrong before the lock is refused; inside the job it crashes and leaves `/status` lying; in
the pipeline it is swallowed, and the reply is 200 without images and with a perfect `info`.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.simulator.sdnext import parameters
from gateway.simulator.sdnext.encoding import (
    decode_image,
    encode_image,
    image_bytes,
    megapixels_of,
    refuse_upload_reference,
)
from gateway.simulator.sdnext.failures import Crashed, EarlyAnswer, Refused
from gateway.simulator.sdnext.infotext import JobFacts, info_json, infotext
from gateway.simulator.sdnext.loras import apply_loras, without_tags
from gateway.simulator.sdnext.pictures import Painter, Subject, black_frame, preview

if TYPE_CHECKING:
    from PIL import Image

    from gateway.simulator.sdnext.checkpoints import Weights
    from gateway.simulator.sdnext.engine import Engine
    from gateway.simulator.sdnext.request_models import Fields

_EARLY_S = 0.05  # an interrupt this early leaves no frame at all
_POISONED_S = 0.5
_ENCODE_S_PER_MEGAPIXEL = {"png": 0.32}
_VAE_S_PER_MEGAPIXEL = 0.1


@dataclass(frozen=True, slots=True)
class Inputs:
    """The decoded images of an img2img request."""

    init: Image.Image
    init_hash: str
    mask: Image.Image | None


@dataclass(slots=True)
class Pictures:
    """What a job has made so far, with the texts; the counts need not agree, which is how a gateway tells."""

    images: list[Image.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """One job with everything decided: what to paint, on which weights, for how long."""

    facts: JobFacts
    weights: Weights
    inputs: Inputs | None
    subject: Subject
    strength: float
    fault: str

    @property
    def megapixels(self) -> float:
        """Of one picture."""
        return max(0, self.subject.width) * max(0, self.subject.height) / 1e6


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request past the checks before the lock."""

    fields: Fields
    sampler: str
    kind: str
    fault: str


class Generation:
    """Runs jobs on an engine; keeps the job that runs for the previews that `/progress` hands out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._painter = Painter()
        self._current: Subject | None = None
        self._saved = 0

    async def run(self, fields: Fields, kind: str, fault: str = "") -> dict[str, Any]:
        """The reply to a request of `kind` txt2img or img2img. Raises what the server answers otherwise.

        `fault` is what goes wrong inside the job: `wrong-model`, `empty` or `oom`.
        """
        asked = parameters.asked_sampler(fields, self._engine.facts)
        if kind == "img2img":
            _refuse_without_init(fields)
        async with self._engine.lock():
            weights, is_overridden = await self._weights(fields)
            if weights is None:
                return {"images": [], "parameters": parameters.describe(fields), "info": ""}
            old = self._engine.server_options.override(fields["override_settings"] or {})
            try:
                made, facts = await self._job(_Asked(fields, asked, kind, fault), weights)
            finally:
                await self._restore(fields, old, is_overridden=is_overridden)
        return await self._reply(fields, made, facts)

    def current_preview(self) -> str | None:
        """Base64 of a preview of whoever's picture is being made; None when nothing is."""
        if self._current is None or not self._engine.state.steps:
            return None
        return encode_image(preview(self._current, self._painter, self._engine.state.fraction), "jpg", 75, "")

    # --- the model ----------------------------------------------------------------------------------------------

    async def _weights(self, fields: Fields) -> tuple[Weights | None, bool]:
        """What to run on, and whether only for this request.

        Top level persists and loads once; `override_settings` needs an exact alias, else it is ignored.
        """
        name = fields["sd_model_checkpoint"]
        weights = await (self._engine.weights_for_named(name) if name else self._engine.weights_for_unnamed())
        wanted = (fields["override_settings"] or {}).get("sd_model_checkpoint")
        found = self._engine.shelf.find_alias(wanted) if isinstance(wanted, str) else None
        if found is None or (weights is not None and weights.checkpoint == found):
            return weights, False
        await self._engine.load(found)
        return self._engine.shelf.loaded, True

    async def _restore(self, fields: Fields, old: Fields, *, is_overridden: bool) -> None:
        """Put overridden options and the old checkpoint back, unless the request says that they shall stay."""
        engine = self._engine
        loaded = engine.shelf.loaded
        if fields["override_settings_restore_afterwards"] is False:
            if loaded is not None and is_overridden:
                engine.server_options.set("sd_model_checkpoint", loaded.checkpoint.title)
            return
        for name, value in old.items():
            engine.server_options.set(name, value)
        before = engine.shelf.find(engine.stored_model)
        if is_overridden and before is not None:
            await engine.load(before)

    # --- the job ------------------------------------------------------------------------------------------------

    async def _job(self, request: _Asked, weights: Weights) -> tuple[Pictures, JobFacts]:
        engine, fields, kind = self._engine, request.fields, request.kind
        inputs = await self._inputs(fields) if kind == "img2img" else None
        if fields["extra"] is None:
            raise Crashed("AttributeError", "'NoneType' object has no attribute 'items'")
        engine.begin_job("API-TXT" if kind == "txt2img" else "API-IMG")
        for name in fields["alwayson_scripts"]:
            if name.lower() not in engine.facts.listings["scripts"][kind]:
                raise Refused(422, f"Always on script not found: {name}")
        engine.state.begin("Process")
        parameters.crash_on_impossible(fields)
        work = self._prepare(request, weights, inputs)
        engine.running = weights
        engine.counters.jobs += 1
        try:
            made = await self._paint_all(work)
        finally:
            engine.running, self._current = None, None
        engine.state.end()
        return made, work.facts

    async def _inputs(self, fields: Fields) -> Inputs | None:
        """Decode the images; a huge one kills the process, as nothing looks at its size first."""
        images = fields["init_images"]
        if not images:
            return None
        data = image_bytes(images[0])
        mask_data = image_bytes(fields["mask"]) if fields["mask"] is not None else None
        for each in (data, mask_data):
            if each is not None:
                await self._engine.hold_in_memory(megapixels_of(each))
        mask = decode_image(mask_data) if mask_data is not None else None
        return Inputs(decode_image(data), hashlib.sha256(data).hexdigest()[:8], mask)

    def _prepare(self, request: _Asked, weights: Weights, inputs: Inputs | None) -> Work:
        engine, fields = self._engine, request.fields
        own = weights.checkpoint.scheduler
        sampling = parameters.real_sampling(request.sampler, fields["schedulers_sigma"], own, engine.facts)
        size = (parameters.usable_side(fields["width"]), parameters.usable_side(fields["height"]))
        painted = (
            parameters.init_size(inputs.init.size, fields)
            if inputs
            else parameters.hires_size(fields, size, engine.facts)
        )
        seed = fields["seed"] if fields["seed"] != -1 else secrets.randbits(32)
        model = "another-model" if request.fault == "wrong-model" else weights.checkpoint.basename
        facts = JobFacts(
            fields=fields,
            sampling=sampling,
            model=model,
            size=size,
            seed=seed,
            subseed=secrets.randbits(32),
            operation=_operation(fields, inputs),
            has_failed=parameters.fails_in_pipeline(fields, sampling, has_init=inputs is not None)
            or painted[0] * painted[1] * fields["batch_size"] / 1e6 > engine.options.fatal_megapixels,
            tail=_tail(fields, inputs),
            timestamp=engine.state.timestamp,
        )
        fuse = bool(engine.server_options.get("lora_fuse_native"))
        damage = weights.damage
        loras = apply_loras(weights, engine.loras.wanted(fields["prompt"]), fuse_native=fuse)
        details = (sampling.scheduler, sampling.sigma, *(fields[n] for n in ("steps", "cfg_scale", "clip_skip")))
        variation = f"{details} {fields['negative_prompt']}"
        subject = Subject(without_tags(fields["prompt"]), model, seed, *painted, loras, damage, variation)
        return Work(facts, weights, inputs, subject, fields["denoising_strength"] or 0.0, request.fault)

    async def _paint_all(self, work: Work) -> Pictures:
        """All batches, one after the other, until done, interrupted, skipped or broken."""
        made = Pictures()
        fields, batch = work.facts.fields, work.facts.fields["batch_size"]
        started = self._engine.clock.now()
        for iteration in range(fields["n_iter"]):
            indexes = range(iteration * batch, (iteration + 1) * batch)
            if work.facts.has_failed or work.weights.poisoned or work.fault == "oom":
                await self._engine.clock.sleep(_POISONED_S)
                made.texts.extend(infotext(work.facts, i) for i in indexes)
                continue
            if self._engine.state.is_interrupted:
                break  # between batches: fewer pictures, no black frame
            cut = await self._sample(work)
            made.texts.extend(infotext(work.facts, i) for i in indexes)
            if cut:
                self._cut_short(work, made, indexes, started)
                break
            await self._decode(work, made, indexes)
        return made

    async def _sample(self, work: Work) -> bool:
        """Run the sampler; True if it was interrupted or skipped."""
        engine, fields = self._engine, work.facts.fields
        per_step = engine.options.seconds_per_megapixel_step * work.megapixels * fields["batch_size"]
        steps = max(1, fields["steps"]) + parameters.second_pass_steps(fields)
        self._current = work.subject
        engine.state.begin("Inference", steps=steps, step_s=engine.clock.scaled(per_step))
        return await engine.work(per_step * steps, "inference", stoppable=True)

    async def _decode(self, work: Work, made: Pictures, indexes: range) -> None:
        """Turn the latents of one batch into pictures; not to be interrupted."""
        self._engine.state.begin("VAE Decode")
        await self._engine.work(work.megapixels * len(indexes) * _VAE_S_PER_MEGAPIXEL, "decode", stoppable=False)
        if work.weights.poisoned or work.fault == "empty":
            return  # unloaded under our feet
        for index in indexes:
            made.images.append(self._picture(work, index))
        if work.inputs is not None and work.inputs.mask is not None and _wants_mask(work, self._engine):
            made.images.append(work.inputs.mask.convert("RGB"))
            made.texts.append(infotext(work.facts, indexes[0]))

    def _cut_short(self, work: Work, made: Pictures, indexes: range, started: float) -> None:
        """What an interrupt or a skip leaves: a black frame (a grid for a batch), or nothing."""
        engine = self._engine
        if engine.state.is_skipped:
            made.images.clear()
            made.texts.extend(infotext(work.facts, i) for i in range(indexes[-1] + 1, work.facts.images))
            return
        if engine.clock.now() - started < engine.clock.scaled(_EARLY_S):
            return
        made.images.append(black_frame(len(indexes)))
        made.texts.append(infotext(work.facts, indexes[-1]))

    def _picture(self, work: Work, index: int) -> Image.Image:
        s = work.subject
        subject = Subject(s.prompt, s.model, s.seed + index, s.width, s.height, s.loras, s.damage, s.variation)
        if work.inputs is None:
            return self._painter.paint(subject)
        fresh = self._painter.repaint(subject, work.inputs.init, work.strength, work.inputs.mask)
        fields = work.facts.fields
        if work.inputs.mask is not None and fields["inpaint_full_res"] and fields["mask_apply_overlay"] is not False:
            return fresh.resize(work.inputs.init.size)  # only the masked part was painted: it is pasted back
        return fresh

    # --- the reply ----------------------------------------------------------------------------------------------

    async def _reply(self, fields: Fields, made: Pictures, facts: JobFacts) -> dict[str, Any]:
        """Encode outside the lock, in the format of the *global* option, whatever the request overrode."""
        options = self._engine.server_options
        image_format, quality = options.get("samples_format"), options.get("jpeg_quality")
        images = [
            await self._encode(image, image_format, quality, text)
            for image, text in zip(made.images, made.texts, strict=False)
        ]
        if fields["save_images"]:
            self._save(facts, len(images))
        sent = images if fields["send_images"] else []
        return {"images": sent, "parameters": parameters.describe(fields), "info": info_json(facts, made.texts)}

    async def _encode(self, image: Image.Image, image_format: object, quality: object, text: str) -> str:
        if image_format != "png" and parameters.is_too_small_for_jpeg(image.size):
            raise Crashed("OSError", "cannot write mode LA as JPEG")
        per_megapixel = _ENCODE_S_PER_MEGAPIXEL.get(str(image_format), 0.03)
        await self._engine.clock.sleep(per_megapixel * image.size[0] * image.size[1] / 1e6)
        return encode_image(image, image_format, quality, text)

    def _save(self, facts: JobFacts, count: int) -> None:
        for _ in range(count):
            self._saved += 1
            date = self._engine.clock.wall().date()
            self._engine.state.saved(f"/sdnext/data/outputs/text/{self._saved:05}-{date}-{facts.model}.jpg")


def _refuse_without_init(fields: Fields) -> None:
    if fields["init_images"] is None:
        raise EarlyAnswer(400, "Init image is none")
    refuse_upload_reference([*fields["init_images"], fields["mask"]])


def _wants_mask(work: Work, engine: Engine) -> bool:
    asked = work.facts.fields["include_mask"]
    return bool(asked if asked is not None else engine.server_options.get("include_mask"))


def _operation(fields: Fields, inputs: Inputs | None) -> str:
    if inputs is not None:
        return "inpaint" if inputs.mask is not None else "img2img"
    return "txt2img; hires" if fields["enable_hr"] and fields["hr_second_pass_steps"] else "txt2img"


def _tail(fields: Fields, inputs: Inputs | None) -> str:
    """What follows `Model:` in an infotext's last line."""
    if inputs is not None:
        width, height = inputs.init.size
        strength = fields["denoising_strength"]
        return (
            f", Init image size: {width}x{height}, Init image hash: {inputs.init_hash}, Denoising strength: {strength}"
        )
    if fields["enable_hr"] and fields["hr_second_pass_steps"]:
        steps, strength = fields["hr_second_pass_steps"], fields["hr_denoising_strength"]
        return f", Refine: True, Hires force: True, Hires steps: {steps}, Hires strength: {strength}"
    return ""
