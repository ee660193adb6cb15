"""What the machine could do and what it uses: shares of known rates, bytes by hand, and counters of energy that come round."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import pytest
import torch

from nnn_bench.models.flops import Flops
from nnn_bench.speed.counted import Work, counted
from nnn_bench.speed.energy import Meter, energy_per_token, meter_of
from nnn_bench.speed.roofline import Roofline, measure_roofline, weight_bytes
from tests.models import CONTEXT, VOCABULARY, small, solved

CPU = torch.device("cpu")


def test_the_share_is_of_whichever_rate_allows_less():
    roofline = Roofline(matrix_flops_per_second=1e9, copy_bytes_per_second=1e8, matrix_size=1, copy_bytes=1)
    # a million operations take 1 ms, 50 thousand bytes half of that: 4 ms are a quarter of what could be done
    assert roofline.share(1e6, 5e4, 4e-3) == pytest.approx(0.25)
    assert roofline.compute(1e6, 4e-3) == pytest.approx(0.25)
    assert roofline.memory(5e4, 4e-3) == pytest.approx(0.125)
    assert roofline.share(1e6, 4e5, 4e-3) == pytest.approx(1.0)


def test_both_rates_are_those_of_the_best_of_several_repeats(monkeypatch):
    times = iter([0.0, 4.0] + [0.0, 2.0] + [0.0, 9.0] * 3 + [0.0, 8.0] * 4 + [0.0, 5.0])
    monkeypatch.setattr("nnn_bench.speed.roofline.time.perf_counter", lambda: next(times))
    found = measure_roofline(CPU)
    assert found.matrix_flops_per_second == 2 * found.matrix_size**3 / 2.0
    assert found.copy_bytes_per_second == 2 * found.copy_bytes / 5.0


def test_weights_are_read_once_and_rows_of_tables_where_they_are_looked_up():
    tied = small("gpt2")
    width = solved("gpt2").knobs["topology.width"]
    total = sum(p.numel() for p in tied.parameters())
    # the token table is the head; of the positions each text looks up one
    assert weight_bytes(tied, 3) == 4 * (total - (CONTEXT - 3) * width)
    untied = small("matmul_free")
    width = solved("matmul_free").knobs["topology.width"]
    total = sum(p.numel() for p in untied.parameters())
    assert weight_bytes(untied, 2) == 4 * (total - (VOCABULARY - 2) * width)
    assert weight_bytes(untied, 10_000) == 4 * total


def test_counted_operations_are_those_of_products_without_gradients():
    weights = torch.ones(4, 5, requires_grad=True)
    queries = torch.ones(1, 2, 3, 8)
    assert counted(lambda: torch.ones(3, 4) @ weights) == 2 * 3 * 4 * 5
    attention = torch.nn.functional.scaled_dot_product_attention
    assert counted(lambda: attention(queries, queries, queries)) == 2 * (2 * 2 * 3 * 3 * 8)
    assert Work(Flops(matrix=120, other=30), 120, 3).plain == {"declared": 50, "counted": 40, "matrix_declared": 40}


def zone(folder, name, energy, most):
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")


@pytest.fixture
def powercap(tmp_path):
    """Two packages, the cores inside the first, and a zone of the whole board."""
    zone(tmp_path / "intel-rapl:0", "package-0", 9_000_000, 10_000_000)
    zone(tmp_path / "intel-rapl:0:0", "core", 1, 10_000_000)
    zone(tmp_path / "intel-rapl:1", "package-1", 2_000_000, 20_000_000)
    zone(tmp_path / "intel-rapl:2", "psys", 5, 10_000_000)
    return tmp_path


def test_rapl_adds_up_packages_and_goes_on_where_a_counter_begins_anew(powercap):
    meter = meter_of(CPU, powercap)
    assert meter is not None and meter.source == "RAPL package"
    before = meter.read()
    assert before == [9_000_000, 2_000_000]
    (powercap / "intel-rapl:0" / "energy_uj").write_text("500000\n")  # round once: 1.5 J
    (powercap / "intel-rapl:1" / "energy_uj").write_text("2250000\n")  # 0.25 J
    assert meter.between(before, meter.read()) == pytest.approx(1.75)


def test_no_counter_that_may_be_read_means_not_measured(tmp_path, powercap):
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert meter_of(CPU, empty) is None
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    (powercap / "intel-rapl:1" / "energy_uj").mkdir()  # as good as forbidden, and to an administrator too
    assert meter_of(CPU, powercap) is None
    told = energy_per_token(lambda: pytest.fail("nothing is worked on"), None)
    assert told == {"joules_per_token": None, "source": "not measured", "idle_watts": None}


def test_energy_is_that_of_the_work_and_idle_power_is_told_beside():
    now = {"seconds": 0.0, "joules": 0.0}

    def pass_time(seconds, watts):
        now["seconds"] += seconds
        now["joules"] += seconds * watts

    def work():
        pass_time(0.5, 30.0)
        return 4

    meter = Meter("a counter", lambda: [round(now["joules"] * 1000)], 1e-3)
    told = energy_per_token(
        work,
        meter,
        work_seconds=2.0,
        idle_seconds=1.0,
        clock=lambda: now["seconds"],
        sleep=lambda s: pass_time(s, 10.0),
    )
    # four calls of half a second at 30 W make 16 tokens
    assert told == {"joules_per_token": pytest.approx(60 / 16), "source": "a counter", "idle_watts": pytest.approx(10)}


def test_nvml_is_asked_for_the_gpu_by_its_identity(monkeypatch):
    nvml = types.ModuleType("pynvml")
    nvml.__spec__ = importlib.machinery.ModuleSpec("pynvml", None)
    asked = []
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = lambda name: asked.append(name) or "handle"
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: {"handle": 1500}[handle]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="aa-bb"))
    meter = meter_of(torch.device("cuda"))
    assert meter is not None and asked == ["GPU-aa-bb"]
    assert meter.source == "NVML total-energy counter"
    assert meter.between(meter.read(), [4000]) == pytest.approx(2.5)

    def refuse(handle):
        raise nvml.NVMLError

    nvml.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert meter_of(torch.device("cuda")) is None
