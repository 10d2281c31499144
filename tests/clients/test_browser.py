"""A page of another origin in a real browser: its preflights, its picture, what it may read, where it is refused."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.clients.support import HELD_PHASE, address, small_pool
from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

PAGE = """<!doctype html><meta charset="utf-8"><canvas id="canvas"></canvas><script>
const base = "%s", key = "%s";
const headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"};
const tell = told => fetch("/told", {method: "POST", body: JSON.stringify(told)});
const read = async (path, more) => (await fetch(base + path, {headers, ...more})).json();
async function draw(base64) {
  const image = new Image();
  image.src = "data:image/png;base64," + base64;
  await image.decode();
  const canvas = document.getElementById("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return {width: canvas.width, height: canvas.height, colours: new Set(pixels).size};
}
async function run() {
  const options = await read("/sdapi/v1/options");
  const body = JSON.stringify({prompt: "a lighthouse", width: 128, height: 64, steps: 1});
  const call = fetch(base + "/sdapi/v1/txt2img", {method: "POST", headers, body});
  let progress;
  do progress = await read("/sdapi/v1/progress?skip_current_image=true"); while (progress.state.job_count < 1);
  await tell({progress});
  const answer = await call;
  const picture = await draw((await answer.json()).images[0]);
  const stranger = await fetch(base + "/sdapi/v1/options", {headers: {"X-API-Key": "sk-nobody-0123456789abcdefghij"}});
  await tell({
    options, picture, status: answer.status,
    job: answer.headers.get("X-Job-Id"), limit: answer.headers.get("RateLimit"),
    refused: {status: stranger.status, detail: (await stranger.json()).detail},
  });
}
run().catch(error => tell({error: String(error)}));
</script>"""


@contextmanager
def site(gateway_address):
    """A server of its own with that page; gives its origin and the queue of what the page tells it."""
    told = queue.Queue()
    page = (PAGE % (gateway_address, KEY)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(page if self.path == "/" else b"")

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"{}")

        def _answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def visiting(origin, folder):
    """A browser with that page open; gives the file in which it writes what it asked of the network, once closed."""
    net_log = folder / "net.json"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", f"--log-net-log={net_log}"]
    with subprocess.Popen(  # noqa: S603 - a browser of this machine
        [BROWSER, *flags, origin], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield net_log
        finally:
            process.terminate()


def what_a_page_sees(pool, folder):
    """What the page told while its job was held, at its end, and the browser's log of the network."""
    backend = pool.sims["one"]
    backend.ask(HELD_PHASE, method="POST")
    with site(address(pool)) as (origin, told):
        with visiting(origin, folder) as net_log:
            first = told.get(timeout=PATIENCE_S)
            backend.ask(HELD_PHASE, method="DELETE")
            last = told.get(timeout=PATIENCE_S)
        return first, last, net_log.read_text()


def test_a_page_of_another_origin_generates_watches_and_draws(pool, tmp_path):
    small_pool(pool)
    during, end, net_log = what_a_page_sees(pool, tmp_path)
    assert during["progress"]["state"]["job_count"] == 1
    assert 0 < during["progress"]["progress"] < 1
    assert end["options"]["sd_model_checkpoint"] == "red"
    assert (end["status"], len(end["job"]) > 0, len(end["limit"]) > 0) == (200, True, True)
    assert (end["picture"]["width"], end["picture"]["height"]) == (128, 64)
    assert end["picture"]["colours"] > 8  # not one black frame
    assert end["refused"]["status"] == 401
    assert "key" in end["refused"]["detail"]
    for asked in ("OPTIONS /sdapi/v1/txt2img", "POST /sdapi/v1/txt2img", "OPTIONS /sdapi/v1/options"):
        assert asked in net_log


def test_a_page_of_an_origin_that_is_not_named_learns_nothing_and_makes_nothing(pool, tmp_path):
    small_pool(pool, cors_origins="https://pictures.example")
    with site(address(pool)) as (origin, told), visiting(origin, tmp_path):
        assert told.get(timeout=PATIENCE_S) == {"error": "TypeError: Failed to fetch"}
    assert pool.sims["one"].received("/sdapi/v1/txt2img") == []
