from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.peers import LlamaSwap, SwarmUI
from tests.simulator.pool.traces import a_gpu, jobs_at, public


def starts(make, gpus, jobs) -> dict[str, tuple[float, int]]:
    return {d.job.job_id: (d.started_at, d.gpu) for d in simulate(gpus, jobs, make(gpus)).done}


def test_swarmui_waits_a_moment_before_it_chooses_among_several_gpus_and_loads_first():
    assert starts(SwarmUI, [a_gpu("g0"), a_gpu("g1")], jobs_at((0.0, "A"))) == {"0": (13.5, 0)}
    assert starts(SwarmUI, [a_gpu("g0")], jobs_at((0.0, "A"))) == {"0": (12.0, 0)}


def test_swarmui_claims_a_loaded_model_at_once_whoever_else_waits():
    jobs = jobs_at((0.0, "A"), (20.0, "B"), (20.5, "A"))
    found = starts(SwarmUI, [a_gpu("g0"), a_gpu("g1")], jobs)
    assert (found["2"], found["1"]) == ((20.5, 0), (33.5, 1))


def test_swarmui_loads_for_the_model_with_the_most_pressure_first():
    jobs = jobs_at((0.0, "A"), (1.0, "B"), (2.0, "C"), (3.0, "C"))
    found = starts(SwarmUI, [a_gpu("g0")], jobs)
    assert found["2"][0] < found["1"][0]


def test_llama_swap_never_takes_a_busy_gpu_from_its_model_so_an_endless_stream_starves_others():
    jobs = jobs_at(*sorted([*((4.0 * n, "A") for n in range(50)), (9.0, "B")]))
    found = starts(LlamaSwap, [a_gpu("g0")], jobs)
    starved = next(job.job_id for job in jobs if job.model == "B")
    assert found[starved][0] == max(at for at, _ in found.values())


def test_llama_swap_joins_a_load_under_way_and_uses_another_gpu_beyond_ten():
    found = starts(LlamaSwap, [a_gpu("g0"), a_gpu("g1")], jobs_at(*((0.0, "A") for _ in range(12))))
    assert [gpu for _, gpu in found.values()].count(1) == 2


def test_both_peers_serve_every_job_of_a_public_trace():
    gpus, jobs = public("small")
    for make in (SwarmUI, LlamaSwap):
        assert len(simulate(gpus, jobs, make(gpus)).done) == len(jobs)
