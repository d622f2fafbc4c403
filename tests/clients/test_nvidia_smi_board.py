"""nvidia-smi on a board: what captures of real ones show, what an administrator sets, and what it
says to wrong input."""
import re
import xml.etree.ElementTree as ET

import clients
import pytest
from test_nvidia_smi import A100, BAD, H100, smi  # noqa: F401  (smi is a fixture)

# From captures of real boards with the drivers named (docs/simulator.md): element -> text.
CAPTURES = {
    A100: ("570.148.08", """
        product_brand=NVIDIA product_architecture=Ampere accounting_mode_buffer_size=4000
        vbios_version=92.00.45.00.03 board_part_number=692-2G506-0200-003
        inforom_version/img_version=G506.0200.00.04 inforom_version/oem_object=2.0
        inforom_version/ecc_object=6.16 inforom_version/pwr_object=N/A c2c_mode=N/A
        pci/pci_device_id=20B010DE pci/pci_sub_system_id=134F10DE fan_speed=N/A
        pci/pci_gpu_link_info/pcie_gen/max_link_gen=4 performance_state=P0 compute_mode=Default
        fb_memory_usage/total=40960_MiB fb_memory_usage/reserved=518_MiB
        bar1_memory_usage/total=65536_MiB cc_protected_memory_usage/total=0_MiB
        remapped_rows/row_remapper_histogram/row_remapper_histogram_max=640_bank(s)
        retired_pages/multiple_single_bit_retirement/retired_count=N/A
        temperature/gpu_temp_max_threshold=92_C temperature/gpu_temp_slow_threshold=89_C
        temperature/gpu_temp_max_gpu_threshold=85_C temperature/gpu_temp_max_mem_threshold=95_C
        clocks/graphics_clock=210_MHz clocks/mem_clock=1215_MHz clocks/video_clock=585_MHz
        applications_clocks/graphics_clock=1095_MHz applications_clocks/mem_clock=1215_MHz
        max_clocks/sm_clock=1410_MHz max_clocks/video_clock=1290_MHz
        max_customer_boost_clocks/graphics_clock=1410_MHz clock_policy/auto_boost=N/A"""),
    H100: ("580.105.08", """
        product_architecture=Hopper vbios_version=96.00.99.00.01 c2c_mode=Disabled
        board_part_number=692-2G520-0200-000 inforom_version/img_version=G520.0200.00.05
        pci/pci_sub_system_id=16C110DE pci/pci_gpu_link_info/pcie_gen/max_link_gen=5
        fb_memory_usage/total=81559_MiB bar1_memory_usage/total=131072_MiB
        remapped_rows/row_remapper_histogram/row_remapper_histogram_max=2560_bank(s)
        clocks/graphics_clock=345_MHz clocks/mem_clock=2619_MHz clocks/video_clock=765_MHz
        applications_clocks/graphics_clock=1980_MHz max_clocks/video_clock=1545_MHz"""),
    "T4": ("580.105.08", """
        product_name=Tesla_T4 product_architecture=Turing vbios_version=90.04.96.00.02
        mig_mode/current_mig=N/A mig_mode/pending_mig=N/A mig_devices=None
        board_part_number=900-2G183-A800-001 inforom_version/oem_object=1.1
        inforom_version/ecc_object=5.0 pci/pci_device_id=1EB810DE
        pci/pci_sub_system_id=12A210DE pci/pci_gpu_link_info/pcie_gen/max_link_gen=3
        fb_memory_usage/total=15360_MiB fb_memory_usage/reserved=448_MiB
        bar1_memory_usage/total=256_MiB ecc_mode/current_ecc=Enabled remapped_rows=N/A
        retired_pages/multiple_single_bit_retirement/retired_count=0
        retired_pages/pending_retirement=No temperature/gpu_temp_max_threshold=96_C
        temperature/gpu_temp_slow_threshold=93_C temperature/gpu_temp_max_gpu_threshold=85_C
        temperature/memory_temp=N/A temperature/gpu_temp_max_mem_threshold=N/A
        max_clocks/graphics_clock=1590_MHz max_clocks/mem_clock=5001_MHz
        max_clocks/video_clock=1470_MHz"""),
    "L40S": ("580.105.08", """
        product_architecture=Ada_Lovelace board_part_number=900-2G133-A880-000
        mig_mode/current_mig=N/A pci/pci_device_id=26B910DE pci/pci_sub_system_id=185110DE
        fb_memory_usage/total=46068_MiB fb_memory_usage/reserved=609_MiB
        bar1_memory_usage/total=65536_MiB temperature/memory_temp=N/A
        remapped_rows/row_remapper_histogram/row_remapper_histogram_max=192_bank(s)
        max_clocks/graphics_clock=2520_MHz max_clocks/mem_clock=9001_MHz"""),
}


@pytest.mark.parametrize("model", CAPTURES)
def test_a_board_as_captured(smi, machine, model):  # noqa: F811
    driver, lines = CAPTURES[model]
    m = machine(model, mig=False, driver=driver)
    gpu = ET.fromstring(smi(m, "-q", "-x")).find("gpu")
    differs = {}
    for path, want in (line.replace("_", " ").split("=") for line in lines.split()):
        path = path.replace(" ", "_")
        got = gpu.findtext(path)
        if got is None:
            assert path == "c2c_mode"  # which 535 does not know
        elif got.strip() != want:
            differs[path] = (got, want)
    assert not differs


@pytest.mark.parametrize("model", ["T4", "L40S"])
def test_a_gpu_without_mig(smi, machine, model):  # noqa: F811
    m = machine(model, mig=False)
    for args in ((), ("-L",), ("-q",), ("topo", "-c", "0")):
        assert not BAD.search(smi(m, *args)), args
    assert "| N/A |" in re.sub(r" +", " ", smi(m))  # where "Disabled" or "Enabled" would stand
    assert "Unable to enable MIG Mode" in smi(m, "-mig", "1")
    for args in (("-lgip",), ("-lgipp",), ("-cgi", "19"), ("-lgi",), ("-dgi",)):
        out = smi(m, "mig", *args, check=None)
        assert re.search(r"No MIG-(supported|enabled) devices found", out), (args, out)
    assert m.show()["gpus"][0]["mig"] is False


WRONG = [
    # arguments of `nvidia-smi mig -i 0`, part of what it says, exit status
    (("-cgi", "99"), "using profile 99: Invalid Argument", 2),
    (("-cgi", "nonsense"), "using profile nonsense: Invalid Argument", 2),
    (("-cgi", "9:3"), "using profile 9:3: Invalid Argument", 2),
    (("-cgi", "0"), "Insufficient Resources", 23),
    (("-cgi", "9:4"), "Insufficient Resources", 23),
    (("-cci", "9", "-gi", "2"), "using profile 9: Invalid Argument", 2),
    (("-cci", "2", "-gi", "2"), "Insufficient Resources", 23),
    (("-cci", "0", "-gi", "6"), "No GPU instances found: Not Found", 6),
    (("-dgi", "-gi", "55"), "No GPU instances found: Not Found", 6),
    (("-dgi", "-gi", "2"), "In use by another client", 19),
    (("-dci", "-ci", "7", "-gi", "2"), "No compute instances found: Not Found", 6),
    (("-dci", "-ci", "0", "-gi", "2"), "In use by another client", 19),
]


def test_wrong_input_changes_nothing(smi, machine):  # noqa: F811
    m = machine(A100)
    smi(m, "mig", "-cgi", "9:4", "-C")
    load = m.load(re.search(r"MIG-[0-9a-f-]{36}", smi(m, "-L"))[0])
    before = m.show()["gpus"][0]["gpu_instances"]
    for args, text, status in WRONG:
        out = smi(m, "mig", "-i", "0", *args, check=status)
        assert text in out, (args, out)
        assert m.show()["gpus"][0]["gpu_instances"] == before
    assert "No devices were found" in smi(m, "mig", "-i", "7", "-lgi", check=6)
    assert "Invalid MIG Mode: 5" in smi(m, "-mig", "5", check=2)
    assert "In use by another client" in smi(m, "-mig", "0")  # stays pending
    load.kill()
    load.wait()


def asked(smi, machine, *properties):  # noqa: F811
    out = smi(machine, f"--query-gpu={','.join(properties)}", "--format=csv,noheader,nounits")
    return out.strip().split(", ")


def test_an_administrator_sets_power_and_clocks(smi, machine):  # noqa: F811
    m = machine(A100, mig=False)
    power, clocks = ("power.limit", "power.default_limit"), ("clocks.sm", "clocks.mem")
    assert "was set to 300.00 W from 400.00 W" in smi(m, "-pl", "300")
    assert asked(smi, m, *power) == ["300.00", "400.00"]
    assert "between 100.00 W and 400.00 W" in smi(m, "-pl", "10", check=2)
    assert asked(smi, m, *power) == ["300.00", "400.00"]
    assert "gpuClkMin 900, gpuClkMax 1200" in smi(m, "-lgc", "900,1200")
    assert asked(smi, m, *clocks) == ["900", "1215"]
    smi(m, "-rgc")
    assert asked(smi, m, *clocks) == ["210", "1215"]
    smi(m, "-ac", "1215,1200")
    assert asked(smi, m, "clocks.applications.graphics") == ["1200"]
    assert "is not supported" in smi(m, "-ac", "1215,1201")
    smi(m, "-rac")
    assert asked(smi, m, "clocks.applications.graphics") == ["1095"]
    assert "Reset volatile ECC errors to zero" in smi(m, "-p", "0")
    m.reboot()
    assert asked(smi, m, *power) == ["400.00", "400.00"]
