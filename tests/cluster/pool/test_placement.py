import pytest
from studies import MINIMAL, PATH

from cluster.pool.placement import Request, capacity, divided, inventory, place, place_all, room_for
from cluster.study.cluster_settings import WorkerSettings
from cluster.study.study_file import parse_study
from featurestore.errors import ConfigurationError


def placed(nodes, **settings):
    """Workers, and CPUs and GPUs of each."""
    request = place(nodes, WorkerSettings(**settings))
    return capacity(request, nodes), request.cpus, request.gpus


def test_workers_fill_the_machine_without_fighting():
    assert placed([{"CPU": 2}]) == (2, 1, 0)
    assert placed([{"CPU": 64}]) == (16, 4, 0)
    assert placed([{"CPU": 64, "GPU": 8}]) == (8, 8, 1)


def test_every_worker_finds_a_place_on_uneven_nodes():
    assert placed([{"CPU": 4, "GPU": 1}, {"CPU": 60, "GPU": 1}, {"CPU": 16}]) == (2, 4, 1)
    assert placed([{"CPU": 2}, {"CPU": 16}]) == (18, 1, 0)
    assert placed([{"CPU": 4, "GPU": 8}]) == (4, 1, 1)


def test_threads_never_exceed_the_cores():
    for cores in range(1, 130):
        for gpus in (0, 1, 4):
            n_workers, cpus, _ = placed([{"CPU": cores, "GPU": gpus}])
            assert 1 <= n_workers * cpus <= cores


def test_several_workers_can_share_a_gpu():
    assert placed([{"CPU": 32, "GPU": 2}], gpus=0.25) == (8, 4, 0.25)
    assert placed([{"CPU": 32, "GPU": 2}], gpus=0.4) == (4, 8, 0.4)  # no worker is given parts of two
    assert placed([{"CPU": 32, "GPU": 8}], gpus=2) == (4, 8, 2)


def test_what_is_asked_for_decides_and_the_rest_follows_from_nodes_that_have_it():
    nodes = [{"CPU": 8, "memory": 60e9}, {"CPU": 32, "GPU": 4, "memory": 250e9, "a100": 4}]
    assert placed(nodes, gpus=0) == (20, 2, 0)
    assert placed(nodes, gpus=0, cpus=4) == (10, 4, 0)
    assert placed(nodes, gpus=0, cpus=1, memory_gb=50) == (6, 1, 0)
    assert placed(nodes, resources={"a100": 2}) == (2, 8, 1)
    assert placed(nodes, gpus=0, resources={"a100": 0.1}) == (8, 4, 0)


def test_a_fraction_is_not_lost_to_rounding():
    assert capacity(Request(cpus=1, resources=(("slot", 0.1),)), [{"CPU": 64, "slot": 0.7}]) == 7


def test_what_no_node_has_finds_no_place_and_is_said_in_words():
    large = {"CPU": 8, "node:10.0.0.1": 1.0, "object_store_memory": 1e9}
    nodes = [{**large, "memory": 16.1e9}, {**large, "memory": 16.2e9}, {"CPU": 4, "GPU": 1}]
    request = place(nodes, WorkerSettings(gpus=2, cpus=4, memory_gb=8, resources={"a100": 0.5}))
    assert capacity(request, nodes) == 0
    assert str(request) == "4 CPUs, 2 GPUs, 8 GB of memory, 0.5 a100"
    assert inventory(nodes, request) == "2 nodes of 8 CPUs, 16 GB of memory; 1 node of 4 CPUs, 1 GPU"
    assert inventory(nodes, Request(cpus=9)) == "2 nodes of 8 CPUs; 1 node of 4 CPUs, 1 GPU"
    assert inventory([{"CPU": n} for n in range(2, 22)], Request(cpus=99)).endswith("9 CPUs; 12 others")


def test_more_workers_may_wait_where_nodes_can_come_but_never_more_than_allowed():
    assert room_for(10, None, grows=False) == (10, 0)
    assert room_for(10, None, grows=True) == (10, 10)
    assert room_for(0, None, grows=True) == (0, 4)
    assert room_for(10, 12, grows=True) == (10, 2)
    assert room_for(10, 3, grows=True) == (3, 0)


GPU_NODE = {"CPU": 8, "GPU": 1}


def test_workers_on_gpus_leave_room_for_those_that_need_none():
    requests = place_all([GPU_NODE], {"features": WorkerSettings(), "probes": WorkerSettings(gpus=0, cpus=2)})
    assert requests == {"features": Request(6, 1.0), "probes": Request(2)}
    assert divided(list(requests.values()), [GPU_NODE], [None, None]) == [1, 1]


def test_nodes_are_divided_between_kinds_of_work_one_worker_of_each_in_turn():
    cpu, half = Request(2), Request(1, 0.5)
    assert divided([half, cpu], [GPU_NODE, {"CPU": 4}], [None, None]) == [2, 3 + 2]
    assert divided([half, cpu], [GPU_NODE], [1, None]) == [1, 3]
    assert divided([cpu], [GPU_NODE], [None]) == [capacity(cpu, [GPU_NODE])]


def test_where_two_cannot_be_side_by_side_each_can_be_first():
    whole = Request(8, 1.0)
    assert divided([whole, Request(2)], [GPU_NODE], [None, None]) == [1, 0]
    assert divided([whole, Request(2)], [GPU_NODE], [None, None], first=1) == [0, 4]


@pytest.mark.parametrize("gpus", [0.25, 0.4, 0.5, 1.0, 2.0])
def test_one_kind_alone_gets_all_its_places(gpus):
    request, nodes = Request(1, gpus), [{"CPU": 64, "GPU": 4}, {"CPU": 2, "GPU": 8}, {"CPU": 8}]
    assert divided([request], nodes, [None]) == [capacity(request, nodes)]


# ---- the table of a study ----------------------------------------------------------------------------------------


def test_a_study_says_what_its_workers_ask_for():
    text = "[cluster]\nextract = { gpus = 0.5, cpus = 4, memory_gb = 8, resources = { a = 0.5 }, max_workers = 64 }\n"
    cluster = parse_study(MINIMAL + text, PATH).cluster
    extract = WorkerSettings(gpus=0.5, cpus=4, memory_gb=8, resources={"a": 0.5}, max_workers=64)
    assert (cluster.of("features"), cluster.of("probes")) == (extract, WorkerSettings())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cluster]\n\nextract = { gpu = 1 }", r"line 5: unknown key 'gpu'. Did you mean 'gpus'\? \[cluster.extract\]"),
        ("[cluster.extract]\n\ngpu = 1", "line 5: unknown key 'gpu'. Did you mean 'gpus'"),
        ("[cluster]\nextracts = {}", "line 4: unknown key 'extracts'. Did you mean 'extract'"),
        ("[cluster]\nprobe = 3", "line 4: 'cluster.probe' must be a table"),
        ("cluster = 3", "'cluster' must be a table"),
        ("[cluster.extract]\ngpus = 1.5", "line 3: gpus must be a fraction of one GPU or a whole number. Got 1.5"),
        ("[cluster.extract]\ngpus = -1", "gpus must be a fraction"),
        ("[cluster.extract]\ncpus = 0", "cpus must be at least 1. Got 0"),
        ("[cluster.extract]\nmax_workers = 0", "max_workers must be at least 1. Got 0"),
        ("[cluster.extract]\nmemory_gb = 0", "memory_gb must be more than 0"),
        ("[cluster.extract]\nresources = { GPU = 1 }", "'GPU', which has a key of its own: gpus"),
        ("[cluster.extract]\nresources = { a100 = 0 }", "the amount of 'a100' must be more than 0"),
    ],
)
def test_a_mistake_in_it_is_named(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_study(MINIMAL + text, PATH)
