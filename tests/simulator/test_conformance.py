"""Every recording of a real SD.Next is replayed against the simulated one, and the facts of the replies compared.

The recordings are grouped into scenes: one fresh server each, requests in the order in which they were recorded.
What is not replayed stands in `EXCEPTIONS` with its reason, and a recording in neither place fails the suite.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.recorded import facts_of, load_recordings

RECORDINGS = load_recordings()
INSTANT = SimulationOptions(time_scale=0, port=7861)
FIXED = SimulationOptions(time_scale=0, port=7862, upscalers="fixed")


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, the recordings replayed on it in order, and requests to be sent before some of them."""

    options: SimulationOptions
    names: list[str]
    before: dict[str, list[tuple[str, str, Any]]] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    has_state_dir: bool = False


def post(path: str, body: Any = None) -> tuple[str, str, Any]:
    return "POST", path, body


def options(**values: Any) -> tuple[str, str, Any]:
    return post("/sdapi/v1/options", values)


SMALL = {"prompt": "a cat", "steps": 4, "width": 64, "height": 64}

EXCEPTIONS: dict[str, str] = {
    "client-disconnect": "two clients and a timeline: test_laws_concurrency, what a client left behind still runs",
    "concurrency-75-requests": "a timeline of 75 clients: test_laws_concurrency, the threads and the one lock",
    "concurrency-two-requests": "two clients at once: test_laws_concurrency, the one lock",
    "concurrency-upscale-and-options-behind-generation": "three clients at once: test_laws_concurrency, the one lock",
    "during-model-switch": "polls during a load: test_laws_checkpoints, loading shows no model",
    "img2img-sizes": "a table, replayed row by row in test_laws_pictures",
    "interrupt-idle-then-job": "two requests in one: test_laws_interrupts",
    "interrupt-image-content": "two clients at once: test_laws_interrupts",
    "interrupt-niter3": "two clients at once: test_laws_interrupts",
    "interrupt-with-queued": "three clients at once: test_laws_interrupts",
    "interrupted-txt2img-response": "its job was interrupted from outside: test_laws_interrupts replays its facts",
    "txt2img-steps-100000": "its job was interrupted from outside: test_laws_interrupts replays its facts",
    "long-job-with-polling": "polls during a job: test_laws_progress replays the shape of every poll",
    "progress-with-preview": "a poll during a job: test_laws_progress",
    "skip-niter2": "two clients at once: test_laws_interrupts",
    "shutdown-with-jobs-in-flight": "the server ends: test_laws_process",
    "shutdown-during-job": "the server ends: test_laws_process",
    "img2img-pixel-bomb-400MP": "the server dies; the image is made anew: test_laws_process",
    "img2img-40MB-garbage": "its body was not kept; 40 MB of garbage are made anew in test_laws_pictures",
    "png-info": "its image was not kept; a picture's own infotext is read back in test_laws_pictures",
    "ssrf-canary-hits": "no request: an empty list of hits, since image URLs are never fetched (test_laws_pictures)",
    "switch-timing": "durations of one machine: test_laws_checkpoints, one load for a switch and none for the same",
    "threadpool-starvation": "a table of 40 clients: test_laws_concurrency",
    "routes-from-openapi": "the list of all 164 operations; the UI's, civitai's and captioning's are not simulated",
}
SCENES: dict[str, Scene] = {
    "lists": Scene(
        INSTANT,
        [
            "get-cmd-flags",
            "get-options",
            "get-samplers",
            "get-schedulers",
            "get-sd-models",
            "get-upscalers",
            "get-checkpoint",
            "get-detailers",
            "get-embeddings",
            "get-extensions",
            "get-extra-networks",
            "get-face-restorers",
            "get-hypernetworks",
            "get-latents",
            "get-loras",
            "get-progress",
            "get-prompt-styles",
            "get-realesrgan-models",
            "get-sampler",
            "get-script-info",
            "get-scripts",
            "get-sd-vae",
            "get-status",
            "get-txt2img-wrong-method",
            "get-unknown-route",
            "get-version",
            "interrogate",
        ],
    ),
    "generations": Scene(
        INSTANT,
        [
            "txt2img-tiny-ok",
            "txt2img-prompt-only",
            "txt2img-empty-body",
            "txt2img-empty-object",
            "txt2img-json-array",
            "txt2img-malformed-json",
            "txt2img-no-content-type",
            "txt2img-string-numbers",
            "txt2img-wrong-types",
            "txt2img-a1111-sampler-dpmpp-2m-karras",
            "txt2img-a1111-sampler-euler-a",
            "txt2img-a1111-scheduler-field",
            "txt2img-negative-width",
            "txt2img-null-fields",
            "txt2img-null-prompt",
            "txt2img-prompt-list",
            "txt2img-sampler-index-euler",
            "txt2img-unknown-fields",
            "txt2img-unknown-sampler",
            "txt2img-width-0",
            "txt2img-batch2-iter2",
            "txt2img-niter-0",
            "txt2img-save-images",
            "txt2img-send-images-false",
            "txt2img-steps-0",
            "txt2img-steps-neg",
            "txt2img-width-65",
            "txt2img-extra-dict",
            "txt2img-png",
            "txt2img-seed-fixed",
            "txt2img-seed-fixed-again",
            "txt2img-unknown-script",
            "txt2img-extra-outpath",
            "txt2img-override-outdir",
            "txt2img-override-unknown-key",
            "txt2img-override-wrong-type",
            "txt2img-steps-1e12",
            "control-minimal",
            "txt2img-hires",
            "txt2img-hires-unknown-upscaler",
            "txt2img-alwayson-null",
            "txt2img-clip-skip-and-styles",
            "txt2img-lora-unknown",
            "txt2img-script-args-without-name",
            "txt2img-seed-beyond-int32",
            "txt2img-subseed",
            "txt2img-extra-null",
            "get-history",
            "history-last",
            "txt2img-override-server_rate_limit",
        ],
    ),
    "failures that leave the status lying": Scene(
        INSTANT,
        [
            "status-idle-before",
            "txt2img-unknown-alwayson",
            "status-after-failed-alwayson",
            "progress-after-failed-alwayson",
            "txt2img-batch-0",
            "status-after-failed-batch0",
            "status-after-next-ok",
        ],
        before={"status-after-next-ok": [post("/sdapi/v1/txt2img", SMALL)]},
    ),
    "switching": Scene(
        INSTANT,
        [
            "model-current",
            "txt2img-model-toplevel-tiny-b",
            "model-after-toplevel",
            "options-after-toplevel",
            "txt2img-model-same",
            "txt2img-model-override-tiny-a",
            "model-after-override",
            "txt2img-model-override-tiny-a-norestore",
            "model-after-override-norestore",
            "txt2img-model-toplevel-short-name",
            "model-after-toplevel-short",
            "txt2img-model-override-short-name",
            "txt2img-model-override-unknown",
            "txt2img-model-toplevel-unknown",
            "status-after-unknown-model",
            "txt2img-model-toplevel-unknown-slash",
            "txt2img-model-toplevel-hf-url",
            "model-after-hf-url",
            "options-sd_model_checkpoint-after-hf-url",
            "txt2img-after-hf-url",
            "status-after-hf-url",
            "recover-toplevel-tiny-a",
            "model-after-recover",
            "options-post-model",
            "model-after-options-post",
            "options-post-model-same",
            "options-post-model-short",
            "model-after-options-post-short",
            "options-post-model-unknown",
            "model-after-options-post-unknown",
            "txt2img-after-options-post-unknown",
            "model-after-txt2img-after-options-unknown",
            "options-get-after-post-unknown",
            "options-post-unknown-key",
            "options-post-wrong-type",
            "options-post-jpeg-quality-back",
            "options-post-empty",
            "options-post-list",
            "options-post-token",
            "options-get-after-token",
            "options-post-sd-checkpoint-endpoint",
            "checkpoint-endpoint-unknown",
            "model-after-checkpoint-endpoint-unknown",
            "unload-checkpoint",
            "model-after-unload",
            "txt2img-after-unload",
            "model-after-txt2img-after-unload",
            "refresh-checkpoints",
            "options-post-png",
            "reset-toplevel-tiny-a",
            "txt2img-png-global",
            "interrupt-when-idle",
            "lock-checkpoint",
            "txt2img-locked-toplevel-switch",
            "model-after-locked-switch",
            "unlock-checkpoint",
            "txt2img-tiny-a-again",
        ],
        before={
            "model-current": [options(samples_format="png"), options(samples_format="jpg")],
            "lock-checkpoint": [options(samples_format="jpg")],
        },
    ),
    "img2img and stock upscales": Scene(
        INSTANT,
        [
            "img2img-ok",
            "img2img-data-uri",
            "img2img-empty-init",
            "img2img-include-init-images",
            "img2img-invalid-base64",
            "img2img-mask-invalid",
            "img2img-mask-ok",
            "img2img-no-init",
            "img2img-nonimage-base64",
            "img2img-not-string",
            "img2img-upload-ref",
            "status-after-img2img-invalid",
            "extra-http-url",
            "img2img-http-url",
            "img2img-strength-2",
            "img2img-two-init",
            "img2img-unknown-fields",
            "extra-missing-model-upscaler",
            "extra-no-upscaler",
            "extra-ok",
            "extra-unknown-upscaler",
            "img2img-file-path",
            "png-info-http",
            "extra-a1111-name",
            "extra-batch",
            "extra-invalid-image",
            "extra-missing-image",
            "extra-mode-1",
            "extra-resize-9",
            "extra-unknown-field",
            "status-after-extras",
            "interrupt-during-job",
            "skip-during-job",
        ],
    ),
    "rate limit": Scene(
        INSTANT,
        [
            "status-while-rate-limited",
            "txt2img-rate-limited",
        ],
        before={"status-while-rate-limited": [post("/sdapi/v1/txt2img", SMALL)] * 60},
    ),
    "credentials and a first run": Scene(
        SimulationOptions(models=(), time_scale=0, port=7863, auth="user:password"),
        [
            "auth-bearer",
            "auth-malformed-basic",
            "auth-none-config",
            "auth-none-docs",
            "auth-none-internal-progress",
            "auth-none-log",
            "auth-none-options",
            "auth-none-root",
            "auth-none-sd-models",
            "auth-none-status",
            "auth-none-txt2img",
            "auth-none-txt2img-bad-json",
            "auth-ok-cmd-flags",
            "auth-ok-options-firstrun",
            "auth-ok-set-secrets",
            "auth-ok-options-after-secrets",
            "auth-ok-txt2img-wrong-type",
            "auth-wrong-password",
        ],
        has_state_dir=True,
    ),
    "a token in config.json": Scene(
        SimulationOptions(models=("Diffusers/tiny-b", "Diffusers/acme/tiny-c [0123456789]"), time_scale=0, port=7862),
        [
            "options-token-in-config-json",
            "7862-sd-models",
            "7862-txt2img-title-with-hash",
            "7862-checkpoint",
            "7862-options-model-key",
            "7862-txt2img-hash-only",
        ],
        config={"huggingface_token": "hf_INCONFIGDUMMY"},
    ),
    "repaired upscales": Scene(
        FIXED,
        [
            "extra-fixed-missing-weights",
            "extra-fixed-no-upscaler",
            "extra-fixed-ok",
            "extra-fixed-unknown-upscaler",
            "extra-fixed-a1111-fields",
            "extra-fixed-a1111-name",
            "extra-fixed-batch",
            "extra-fixed-data-uri",
            "extra-fixed-latent",
            "extra-fixed-mode-1",
            "extra-fixed-two-upscalers",
        ],
    ),
}


def test_every_recording_is_replayed_or_a_reasoned_exception() -> None:
    replayed = [name for scene in SCENES.values() for name in scene.names]

    assert sorted({*replayed, *EXCEPTIONS}) == sorted(RECORDINGS)
    assert not set(replayed) & set(EXCEPTIONS)


@pytest.mark.parametrize("scene", SCENES)
async def test_the_simulated_server_answers_as_it_was_recorded(scene: str, tmp_path: Any) -> None:
    played = SCENES[scene]
    different = {}
    async with SimulatedServer(_with_state(played, tmp_path)) as server:
        async with httpx2.AsyncClient(base_url=server.url, headers={"accept-encoding": "identity"}) as client:
            for name in played.names:
                for method, path, body in played.before.get(name, []):
                    await client.request(method, path, json=body)
                live = await _replay(client, RECORDINGS[name]["request"])
                if live != RECORDINGS[name]["facts"]:
                    different[name] = _difference(live, RECORDINGS[name]["facts"])

    assert not different, json.dumps(different, indent=1)


def _with_state(scene: Scene, folder: Any) -> SimulationOptions:
    if scene.config is None and not scene.has_state_dir:
        return scene.options
    if scene.config is not None:
        (folder / "config.json").write_text(json.dumps(scene.config))
    return SimulationOptions(
        models=scene.options.models,
        time_scale=0,
        port=scene.options.port,
        auth=scene.options.auth,
        upscalers=scene.options.upscalers,
        state_dir=folder,
    )


async def _replay(client: httpx2.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    headers = dict(request.get("headers", {}))
    body = request["body"]
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
    if body is not None and "Content-Type" not in headers:
        headers["Content-Type"] = "application/json"
    reply = await client.request(request["method"], request["path"], content=content, headers=headers)
    is_json = reply.headers.get("content-type", "").startswith("application/json")
    return facts_of(
        request["path"], reply.status_code, dict(reply.headers), reply.json() if is_json else reply.text or None
    )


def _difference(live: Any, recorded: Any) -> Any:
    """Only what differs, as (live, recorded)."""
    if isinstance(live, dict) and isinstance(recorded, dict):
        names = [n for n in {**live, **recorded} if live.get(n, "<none>") != recorded.get(n, "<none>")]
        return {n: _difference(live.get(n, "<none>"), recorded.get(n, "<none>")) for n in names}
    return live, recorded
