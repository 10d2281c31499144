from xml.etree import ElementTree

from gateway.simulator.pool.baselines import Fifo
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.plot import svg
from tests.simulator.pool.traces import a_gpu, jobs_at

SVG = "{http://www.w3.org/2000/svg}"


def drawn(gpus, jobs):
    return ElementTree.fromstring(svg(simulate(gpus, jobs, Fifo(gpus))))  # noqa: S314 - our own text


def test_each_swap_is_black_and_each_checkpoint_has_its_own_colour():
    root = drawn([a_gpu()], jobs_at((0.0, "A"), (30.0, "B"), (60.0, "A"), (200.0, "A")))
    boxes = [(box.get("fill"), box[0].text) for box in root.iter(f"{SVG}rect") if len(box)]
    assert [title for fill, title in boxes if fill == "#000"] == ["load A", "load B", "load A"]
    colours = {title: fill for fill, title in boxes if fill != "#000"}
    assert set(colours) == {"A", "B"}
    assert colours["A"] != colours["B"]


def test_a_box_stands_where_and_as_long_as_its_job_ran():
    root = drawn([a_gpu()], jobs_at((0.0, "A")))  # 12 s swap, 5 s job: the whole width is 17 s
    swap, job = (next(b for b in root.iter(f"{SVG}rect") if len(b) and b[0].text == t) for t in ("load A", "A"))
    assert float(job.get("x")) == round(float(swap.get("x")) + float(swap.get("width")), 1)
    assert (
        float(swap.get("width")) / float(job.get("width")) == 12 / 5
        or abs(float(swap.get("width")) / float(job.get("width")) - 2.4) < 0.01
    )


def test_wait_over_time_and_every_tenant_are_drawn():
    root = drawn([a_gpu()], [*jobs_at((0.0, "A"), (1.0, "A"), tenant="anna"), *()])
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "anna" in texts
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


def test_names_cannot_break_the_picture():
    gpus = [a_gpu("<g&>", models="<A&>")]
    texts = [text.text for text in drawn(gpus, jobs_at((0.0, "<A&>"), tenant="<t&>")).iter(f"{SVG}text")]
    assert {"<g&>", "<t&>"} <= set(texts)


def test_an_empty_run_is_an_empty_picture():
    assert drawn([a_gpu()], []).tag == f"{SVG}svg"
