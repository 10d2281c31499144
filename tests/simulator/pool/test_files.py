import json

import pytest

from gateway.simulator.pool.files import Trace, UnusableFile, read_pool, read_trace, trace_of
from gateway.simulator.pool.work import Gpu, Job

LINE = {"t": 3.0, "id": 7, "tenant": "t0", "model": "A", "steps": 20, "width": 1000, "height": 500, "images": 2}


def test_a_trace_line_is_a_job_with_its_work_in_megapixel_steps(tmp_path):
    path = tmp_path / "x.trace.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n")
    assert read_trace(path) == Trace((Job("7", 3.0, "t0", "A", 20.0),))


def test_a_ledger_export_as_csv_begins_at_second_zero_and_is_put_in_order(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_text(
        "\ufeffentered_at,tenant,model,steps,width,height,images,cost\n"
        "2026-11-01T12:00:30Z,b,A,10,1000,1000,,9\n"
        "2026-11-01T14:00:00+02:00,a,B,20,1000,1000,1,9\n"
        "2026-11-01T12:01:00,c,,0,0,0,0,9\n",
        encoding="utf-8",
    )
    assert read_trace(path) == Trace((Job("1", 0.0, "a", "B", 20.0), Job("0", 30.0, "b", "A", 10.0)), skipped=1)


def test_a_ledger_export_may_give_seconds_since_the_epoch():
    rows = [LINE | {"entered_at": 1_800_000_000.0 + n} for n in (5, 2)]
    for row in rows:
        del row["t"]
    assert [job.arrived_at for job in trace_of(rows).jobs] == [0.0, 3.0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"steps": "many"}, "job 1: ValueError"), ({"width": None}, "job 1: TypeError"), ({"t": "soon"}, "job 1")],
)
def test_a_line_that_cannot_be_used_is_named_with_the_reason(change, sentence):
    with pytest.raises(UnusableFile, match=sentence):
        trace_of([LINE | change])


def test_a_line_without_a_tenant_or_an_arrival_is_named():
    for lacking in ("tenant", "t"):
        with pytest.raises(UnusableFile, match=r"job 1: KeyError"):
            trace_of([{key: value for key, value in LINE.items() if key != lacking}])


def test_a_pool_file_gives_its_gpus_in_order(tmp_path):
    path = tmp_path / "x.pool.json"
    gpu = {"name": "g", "seconds_per_megapixel_step": 0.5, "swap_s": 9, "models": ["A"]}
    path.write_text(json.dumps({"backends": [gpu, gpu | {"name": "h"}]}))
    assert read_pool(path) == (Gpu("g", 0.5, 9.0, frozenset("A")), Gpu("h", 0.5, 9.0, frozenset("A")))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not a pool file"),
        ('{"backends": []}', "at least one backend"),
        ('{"backends": [{"name": "g"}]}', "lacks 'seconds_per_megapixel_step'"),
        ('{"backends": [{"name":"g","seconds_per_megapixel_step":0,"swap_s":1,"models":[]}]}', "speed above 0"),
        ('{"backends": [{"name":"g","seconds_per_megapixel_step":1,"swap_s":1,"models":[]},'
         '{"name":"g","seconds_per_megapixel_step":1,"swap_s":1,"models":[]}]}', "same name"),
    ],
)  # fmt: skip
def test_a_pool_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, text, sentence):
    path = tmp_path / "x.pool.json"
    path.write_text(text)
    with pytest.raises(UnusableFile, match=sentence):
        read_pool(path)
