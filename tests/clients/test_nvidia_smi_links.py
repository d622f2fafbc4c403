"""What nvidia-smi of two drivers says of links, other GPUs, accounting and security."""
import time

import clients
import pytest
from test_nvidia_smi import A100, BAD, H100

PCIE, B200, T4 = "A100-PCIE-40GB", "B200-180GB", "T4"


@pytest.fixture(params=["bookworm", "trixie"], ids=["535", "550"])
def smi(request):
    return clients.nvidia_smi(request.param)


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("model, links, rate", [(A100, 12, "25"), (H100, 18, "26.562"),
                                                (B200, 18, "53.125")])
def test_links_of_a_board(smi, machine, model, links, rate):
    m = machine(f"{model}:2", mig=False)
    out = lines(smi(m, "nvlink", "-s"))
    assert len(out) == 2 * (1 + links) and out[0].startswith("GPU 0: ")
    assert out[1:links + 1] == [f"Link {i}: {rate} GB/s" for i in range(links)]
    able = smi(m, "nvlink", "-c", "-i", "1")
    assert f"Link {links - 1}, P2P is supported: true" in able
    assert smi(m, "nvlink", "-e", "-i", "0").count("CRC Errors: 0") == links
    assert smi(m, "nvlink", "-gt", "d", "-i", "0").count("Data Tx: 0 KiB") == links
    if model != B200:  # its switches are not on the host's bus
        assert "Link 1: Remote Device 00000000:C1:00.0: Link 1" in smi(m, "nvlink", "-R")
    matrix = smi(m, "topo", "-m")
    assert f"GPU0\t X \tNV{links}\t" in matrix and f"GPU1\tNV{links}\t X \t" in matrix
    for kind in "rwnap":
        assert "GPU0\tX\tOK" in smi(m, "topo", "-p2p", kind)


@pytest.mark.parametrize("model", [PCIE, T4])
def test_cards_have_no_links_that_are_up(smi, machine, model):
    m = machine(f"{model}:3", mig=False)
    out = smi(m, "nvlink", "-s", check=None)
    assert "GB/s" not in out and not BAD.search(out)
    assert "NV" not in smi(m, "topo", "-m").split("Legend")[0].replace("NVIDIA", "")
    assert "GPU0\tX\tOK" in smi(m, "topo", "-p2p", "r")
    assert "GPU0\tX\tOK" not in smi(m, "topo", "-p2p", "n")


def test_links_go_with_mig(smi, machine):
    m = machine(f"{H100}:2")
    assert "GB/s" not in smi(m, "nvlink", "-s", check=None)
    assert "GPU0\t X \tNV" not in smi(m, "topo", "-m")
    assert "GPU0\tX\tOK" not in smi(m, "topo", "-p2p", "r")


def test_accounting(smi, machine):
    m = machine(T4, mig=False)
    apps = ["--query-accounted-apps=pid,max_memory_usage,gpu_util", "--format=csv,noheader,nounits"]
    assert smi(m, "--query-gpu=accounting.mode,accounting.buffer_size",
               "--format=csv,noheader").strip() == "Disabled, 4000"
    smi(m, "-am", "1")
    load = m.load(m.show()["gpus"][0]["uuid"], "--memory", "2GiB")
    pid = load.pid
    time.sleep(0.05)
    load.kill()
    load.wait()
    row = [word.strip() for word in smi(m, *apps).split(",")]
    assert row[:2] == [str(pid), "2048"] and 0 <= int(row[2]) <= 100
    smi(m, "-caa")
    assert smi(m, *apps).strip() == ""
    assert "Enabled" in smi(m, "-q", "-d", "ACCOUNTING") or "Accounting" in smi(m, "-q")


def test_ecc_waits_for_a_reset(smi, machine):
    m = machine(A100, mig=False)
    ask = ["--query-gpu=ecc.mode.current,ecc.mode.pending", "--format=csv,noheader"]
    assert smi(m, *ask).strip() == "Enabled, Enabled"
    smi(m, "-e", "0")
    assert smi(m, *ask).strip() == "Enabled, Disabled"
    m.sim("reset", m.path, "0")
    assert smi(m, *ask).strip() == "Disabled, Disabled"
    assert not BAD.search(smi(m, "-q"))


def test_persistence_and_compute_mode(smi, machine):
    m = machine(f"{H100}:2", mig=False)
    ask = ["--query-gpu=persistence_mode,compute_mode", "--format=csv,noheader"]
    smi(m, "-i", "1", "-pm", "1")
    smi(m, "-i", "0", "-c", "EXCLUSIVE_PROCESS")
    assert lines(smi(m, *ask)) == ["Disabled, Exclusive_Process", "Enabled, Default"]


@pytest.mark.parametrize("model, word", [(H100, "CC Capable"), (A100, "None")])
def test_confidential_computing_is_off(smi, machine, model, word):
    m = machine(model, mig=False)
    assert smi(m, "conf-compute", "-gg").strip() == f"GPU CC capabilities: {word}"
    assert smi(m, "conf-compute", "-f").strip() == "CC status: OFF"
    assert smi(m, "conf-compute", "-d").strip() == "DevTools Mode: OFF"
    assert "Protected memory size:   0 KiB" in smi(m, "conf-compute", "-gm")
