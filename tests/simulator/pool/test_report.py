import io

from rich.console import Console

from gateway.simulator.pool.baselines import Fifo
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.report import spread, summarise, table
from gateway.simulator.pool.work import Job
from tests.simulator.pool.traces import a_gpu, jobs_at


def an_outcome():
    jobs = [*jobs_at((0.0, "A")), Job("9", 0.0, "u", "A", 40.0), Job("z", 0.0, "u", "Z", 1.0)]
    return simulate([a_gpu()], jobs, Fifo([a_gpu()]))


def test_a_summary_has_every_field_a_reader_was_promised():
    assert summarise(an_outcome()) == {
        "policy": "fifo",
        "jobs": 2,
        "latency_s": {"mean": 22.0, "p50": 27.0, "p95": 27.0, "p99": 27.0, "max": 27.0},
        "wait_s": {"mean": 8.5, "p50": 17.0, "p95": 17.0, "p99": 17.0, "max": 17.0},
        "swaps": 1,
        "makespan_s": 27.0,
        "utilisation": 0.5556,
        "refused": 1,
        "tenants": {
            "t": {"jobs": 1, "gpu_s": 5.0, "mean_latency_s": 17.0},
            "u": {"jobs": 1, "gpu_s": 10.0, "mean_latency_s": 27.0},
        },
    }


def test_percentiles_of_a_hundred_values_are_the_values_at_those_ranks():
    assert spread([float(n) for n in range(100)]) == {"mean": 49.5, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 99.0}


def test_no_jobs_at_all_are_zeros_and_not_an_error():
    outcome = simulate([a_gpu()], [], Fifo([a_gpu()]))
    assert summarise(outcome)["latency_s"] == {"mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    assert summarise(outcome)["utilisation"] == 0.0


def shown(summaries):
    text = io.StringIO()
    Console(file=text, width=80).print(table(summaries))
    return text.getvalue()


def test_a_table_has_a_line_a_policy_and_the_pool_size_in_a_sweep():
    lines = [line.split() for line in shown([summarise(an_outcome()) | {"backends": 4}]).splitlines()]
    assert lines[1] == "GPUs policy jobs mean p50 p95 p99 max wait swaps end busy refused".split()
    assert lines[3] == ["4", "fifo", "2", "22.0", "27.0", "27.0", "27.0", "27.0", "8.5", "1", "27", "56%", "1"]


def test_a_table_without_refusals_has_no_column_for_them():
    assert "refused" not in shown([summarise(an_outcome()) | {"refused": 0}])


def test_no_figure_of_a_long_run_is_cut_off_at_a_terminal_of_eighty_columns():
    of_hours = dict.fromkeys(("mean", "p50", "p95", "p99", "max"), 14670.8)
    long = {"jobs": 100_000, "latency_s": of_hours, "wait_s": of_hours, "swaps": 13_602, "makespan_s": 114_276.4}
    text = shown([summarise(an_outcome()) | long | {"policy": "least-connections", "backends": 12, "refused": 12_345}])
    figures = ["12", "100000", *["14671"] * 6, "13602", "114276", "56%", "12345"]
    line = next(line for line in text.splitlines() if line.startswith(" 12 "))
    assert [part for part in line.split() if part[0].isdigit()] == figures
