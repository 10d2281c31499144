import json

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.simulate import make_trace, simulate


@pytest.fixture
def run(tmp_path):
    app = typer.Typer()
    app.command()(simulate)
    app.command()(make_trace)

    def call(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args])

    made = call("make-trace", tmp_path / "x", "--backends", 2, "--models", 3, "--jobs", 60, "--seed", 5)
    assert made.exit_code == 0, made.output
    files = ("--pool", tmp_path / "x.pool.json", "--trace", tmp_path / "x.trace.jsonl")
    return lambda *args: call("simulate", *files, *args)


def objects(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_production_scheduler_is_simulated_when_nothing_else_is_asked(run):
    (found,) = objects(run("--json"))
    assert (found["policy"], found["jobs"], found["refused"]) == ("gateway", 60, 0)


def test_output_that_is_piped_is_one_json_object_a_policy(run):
    assert [found["policy"] for found in objects(run("--policy", "fifo,affinity"))] == ["fifo", "affinity"]
    assert len(objects(run("--policy", "all"))) == 8


def test_a_sweep_answers_for_each_size_and_more_gpus_do_not_make_it_slower(run):
    found = objects(run("--backends", "1..3"))
    assert [one["backends"] for one in found] == [1, 2, 3]
    assert found[0]["latency_s"]["mean"] > found[2]["latency_s"]["mean"]


def test_a_picture_is_written_for_each_run(run, tmp_path):
    run("--plot", tmp_path / "one.svg")
    run("--plot", tmp_path / "many.svg", "--backends", "1,2")
    names = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert names == ["many-gateway-1.svg", "many-gateway-2.svg", "one.svg"]
    assert all(path.read_text().startswith("<svg") for path in tmp_path.glob("*.svg"))


def test_a_weight_moves_service_to_the_tenant_that_has_it(run, tmp_path):
    path = tmp_path / "two.jsonl"
    line = {"t": 0, "model": "model-000", "steps": 20, "width": 1000, "height": 1000}
    path.write_text("".join(json.dumps(line | {"tenant": tenant}) + "\n" for tenant in "xy" for _ in range(40)))
    for heavy, light in ("xy", "yx"):
        tenants = objects(run("--trace", path, "--backends", "1", "--weight", f"{heavy}=9"))[0]["tenants"]
        assert tenants[heavy]["mean_latency_s"] < 0.8 * tenants[light]["mean_latency_s"]


@pytest.mark.parametrize(
    "args", [("--policy", "best"), ("--backends", "none"), ("--weight", "t0"), ("--weight", "t0=0"), ("--cap", "=3")]
)
def test_an_argument_that_cannot_be_used_is_refused_and_nothing_is_printed(run, args):
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")


def test_lines_without_a_model_are_counted_as_left_out(run, tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_text(
        "entered_at,tenant,model,steps,width,height,images\n"
        "2026-11-01T12:00:00Z,a,model-000,20,512,512,1\n"
        "2026-11-01T12:00:09Z,a,,0,0,0,0\n"
    )
    result = run("--trace", path)
    assert objects(result)[0]["jobs"] == 1
    assert "1 lines without a model" in result.stderr


def test_a_trace_that_cannot_be_read_is_refused_with_the_reason(run, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"t": 0, "model": "A"}\n')
    result = run("--trace", path)
    assert result.exit_code == 2
    assert "job 1" in " ".join(result.output.replace("│", " ").split())  # however the path breaks its lines
