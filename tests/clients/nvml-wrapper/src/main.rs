//! A client of the Rust bindings, which refuse values that their types do not know.  Prints a line
//! for each call: which object, which function, and what came out (Rust's own notation).
#![allow(deprecated)]
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::*;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};
use std::{thread, time::Duration};

macro_rules! look {
    ($who:expr, $object:expr, $($call:ident($($arg:expr),*)),+ $(,)?) => {
        $(println!("{} {} {:?}", $who, stringify!($call), $object.$call($($arg),*));)+
    };
}

fn look_at(who: &str, d: &Device) {
    look!(who, d,
        name(), uuid(), index(), mig_mode(), mig_device_count(), mig_is_mig_device_handle(),
        attributes(), memory_info(), bar1_memory_info(), brand(), architecture(),
        cuda_compute_capability(), compute_mode(), running_compute_processes(),
        running_compute_processes_count(),
        running_graphics_processes(), mps_running_compute_processes(), utilization_rates(),
        decoder_utilization(), encoder_utilization(), encoder_stats(), encoder_sessions(),
        fbc_stats(), fbc_sessions_info(), is_ecc_enabled(), is_display_active(),
        is_display_connected(), power_usage(), power_management_limit(),
        power_management_limit_default(), power_management_limit_constraints(),
        enforced_power_limit(), is_power_management_algo_active(), power_state(),
        performance_state(), power_source(), total_energy_consumption(), pci_info(),
        current_pcie_link_gen(), current_pcie_link_width(), max_pcie_link_gen(),
        max_pcie_link_width(), max_pcie_link_speed(), pcie_link_speed(), pcie_replay_counter(),
        bus_type(), memory_bus_width(), num_cores(), irq_num(), serial(), board_id(),
        board_part_number(), vbios_version(), minor_number(), is_multi_gpu_board(),
        info_rom_image_version(), info_rom_version(InfoRom::ECC), config_checksum(),
        validate_info_rom(), is_in_persistent_mode(), is_accounting_enabled(),
        accounting_buffer_size(), accounting_pids(), current_throttle_reasons_strict(),
        supported_throttle_reasons_strict(), supported_memory_clocks(),
        supported_performance_states(), supported_event_types_strict(), virtualization_mode(),
        gsp_firmware_mode(), gsp_firmware_version(), gpm_support(), gpm_streaming_enabled(),
        num_fans(), fan_speed(0), numa_node_id(), gpu_operation_mode(),
        vgpu_host_mode(), are_pages_pending_retired(), retired_pages(RetirementCause::DoubleBitEccError),
        auto_boosted_clocks_enabled(), bridge_chip_info(), cpu_affinity(4), profile_info(0),
        temperature(TemperatureSensor::Gpu), temperature_threshold(TemperatureThreshold::Slowdown),
        temperature_threshold(TemperatureThreshold::MemoryMax), mig_parent_device(),
        total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile),
        memory_error_counter(MemoryError::Corrected, EccCounter::Aggregate, MemoryLocation::Device),
        violation_status(PerformancePolicy::Power), pcie_throughput(PcieUtilCounter::Send),
        applications_clock(Clock::SM), default_applications_clock(Clock::Memory),
        max_customer_boost_clock(Clock::Graphics), clock(Clock::Video, ClockId::Current),
        clock_info(Clock::Graphics), max_clock_info(Clock::Memory),
        min_max_clock_of_pstate(Clock::Graphics, PerformanceState::Zero),
        supported_graphics_clocks(1215), is_cc_enabled(), active_vgpus(), vgpu_supported_types(),
        field_values_for(&[FieldId(82), FieldId(83), FieldId(186), FieldId(187), FieldId(251), FieldId(9999)]),
        process_utilization_stats(None), samples(Sampling::Power, None),
        topology_nearest_gpus(TopologyLevel::Node),
    );
    let links: Vec<_> = (0..2).map(|l| d.link_wrapper_for(l).is_active()).collect();
    println!("{who} links {links:?}");
}

fn gpm(nvml: &Nvml, d: &Device) -> Result<(), NvmlError> {
    let first = d.gpm_sample()?;
    thread::sleep(Duration::from_millis(110));
    let second = d.gpm_sample()?;
    let ids = [GpmMetricId::SmUtil, GpmMetricId::DramBwUtil];
    for metric in gpm_metrics_get(nvml, &first, &second, &ids)? {
        println!("gpm {:?}", metric.map(|m| (m.metric_id, m.value)));
    }
    Ok(())
}

fn main() -> Result<(), NvmlError> {
    let nvml = Nvml::init()?;
    look!("system", nvml, device_count(), sys_driver_version(), sys_nvml_version(),
        sys_cuda_driver_version(), sys_process_name(std::process::id(), 80), hic_versions(),
        unit_count(), excluded_device_count(), excluded_device_info(0), topology_gpu_set(0),
        device_by_index(99), device_by_uuid("GPU-nothing"), device_by_serial("0"),
        device_by_pci_bus_id("0000:ff:00.0"));
    for i in 0..nvml.device_count()? {
        let device = nvml.device_by_index(i)?;
        look_at(&format!("gpu{i}"), &device);
        println!("gpu{i} gpm {:?}", gpm(&nvml, &device));
        for k in 0..device.mig_device_count()? {
            if let Ok(mig) = device.mig_device_by_index(k) {
                look_at(&format!("gpu{i}mig{k}"), &mig);
            }
        }
        let set = nvml.create_event_set()?;
        let set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set);
        println!("gpu{i} wait {:?}", set.map(|s| s.wait(1).map(|e| e.event_type)));
    }
    nvml.shutdown()
}
