// What a MIG partition manager asks of a node: NVIDIA's mig-parted, read for the calls that it makes
// and the files that it opens, with the order kept and nothing of its code.  Every step opens a
// session of its own inside the one around it, finds GPUs by their place on the PCI bus and looks
// profiles up by number.
//
//	parted export              what there is, as JSON
//	parted apply JSON          makes it so: every order of the profiles is tried until one fits
//	parted assert JSON         exit status 1 unless it is so
//	parted save                places and all, as JSON
//	parted restore JSON        what save printed
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

type gpuPlan struct {
	Mig     bool           `json:"mig"`
	Devices map[string]int `json:"devices"`
}

type savedGi struct {
	Profile      int
	Start, Size  uint32
	ComputeParts []int
}

type savedGpu struct {
	UUID      string
	Mig       bool
	Instances []savedGi
}

type partition struct {
	name   string
	gi, ci int
}

type manager struct {
	lib nvml.Interface
}

func failed(what string, ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	return fmt.Errorf("%s: %s", what, ret.Error())
}

// The driver's module must be loaded; without it a manager would poke registers instead.
func moduleIsLoaded() error {
	text, err := os.ReadFile("/proc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without modules shows none
	}
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "nvidia" {
			return nil
		}
	}
	return errors.New("no nvidia module")
}

func readNumber(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 0, 64)
}

// One entry of sysfs; "" when it is not a GPU of NVIDIA's.  A file that cannot be read is an error.
func pciGpu(root, address string) (string, error) {
	dir := filepath.Join(root, address)
	vendor, err := readNumber(filepath.Join(dir, "vendor"))
	if err != nil || vendor != 0x10de {
		return "", err
	}
	class, err := readNumber(filepath.Join(dir, "class"))
	if err != nil || class>>16 != 0x03 {
		return "", err
	}
	if _, err = readNumber(filepath.Join(dir, "device")); err != nil {
		return "", err
	}
	node, err := os.ReadFile(filepath.Join(dir, "numa_node"))
	if err == nil {
		_, err = strconv.Atoi(strings.TrimSpace(string(node)))
	}
	if err != nil {
		return "", err
	}
	driver, err := filepath.EvalSymlinks(filepath.Join(dir, "driver"))
	if err != nil || filepath.Base(driver) != "nvidia" {
		return "", fmt.Errorf("driver of %s: %s %v", address, driver, err)
	}
	resources, err := os.ReadFile(filepath.Join(dir, "resource"))
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(strings.TrimSpace(string(resources)), "\n") {
		if len(strings.Fields(line)) != 3 {
			return "", fmt.Errorf("resource of %s: %q", address, line)
		}
	}
	config, err := os.Open(filepath.Join(dir, "config"))
	if err != nil {
		return "", err
	}
	defer config.Close()
	header := make([]byte, 64)
	if _, err = io.ReadFull(config, header); err != nil || header[0] != 0xde || header[1] != 0x10 {
		return "", fmt.Errorf("config of %s: % x %v", address, header[:4], err)
	}
	return address, nil
}

func (m manager) session(work func() error) error {
	if err := failed("init", m.lib.Init()); err != nil {
		return err
	}
	err := work()
	if late := failed("shutdown", m.lib.Shutdown()); err == nil {
		err = late
	}
	return err
}

// Addresses of the GPUs on the bus that the library knows, too; in the order of its indices.
func (m manager) gpus() ([]string, error) {
	const root = "/sys/bus/pci/devices"
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var found []string
	err = m.session(func() error {
		for _, entry := range entries {
			address, err := pciGpu(root, entry.Name())
			if err != nil {
				return err
			}
			if address == "" {
				continue
			}
			if _, ret := m.lib.DeviceGetHandleByPciBusId(address); ret == nvml.SUCCESS {
				found = append(found, address)
			}
		}
		return nil
	})
	sort.Strings(found)
	return found, err
}

func (m manager) versionIsNewEnough() error {
	return m.session(func() error {
		text, ret := m.lib.SystemGetNVMLVersion()
		if err := failed("version", ret); err != nil {
			return err
		}
		if major, err := strconv.Atoi(strings.Split(text, ".")[0]); err != nil || major < 11 {
			return fmt.Errorf("version %q", text)
		}
		return nil
	})
}

func (m manager) device(i int, work func(nvml.Device) error) error {
	return m.session(func() error {
		device, ret := m.lib.DeviceGetHandleByIndex(i)
		if err := failed("handle", ret); err != nil {
			return err
		}
		return work(device)
	})
}

// Is the mode on, will it be, and can it be at all?
func (m manager) mode(i int) (isOn, willBe, isCapable bool, err error) {
	err = m.device(i, func(device nvml.Device) error {
		now, later, ret := device.GetMigMode()
		if ret == nvml.ERROR_NOT_SUPPORTED {
			return nil
		}
		isOn, willBe, isCapable = now == nvml.DEVICE_MIG_ENABLE, later == nvml.DEVICE_MIG_ENABLE, true
		return failed("mode", ret)
	})
	return
}

func isHole(ret nvml.Return) bool {
	return ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_INVALID_ARGUMENT
}

type giVisitor func(gi nvml.GpuInstance, profile int, info nvml.GpuInstanceProfileInfo) error
type ciVisitor func(ci nvml.ComputeInstance, profile int, info nvml.ComputeInstanceProfileInfo) error

func walkGis(device nvml.Device, visit giVisitor) error {
	for p := 0; p < nvml.GPU_INSTANCE_PROFILE_COUNT; p++ {
		info, ret := device.GetGpuInstanceProfileInfo(p)
		if isHole(ret) {
			continue
		}
		if err := failed("profile", ret); err != nil {
			return err
		}
		gis, ret := device.GetGpuInstances(&info)
		if err := failed("GPU instances", ret); err != nil {
			return err
		}
		for _, gi := range gis {
			if err := visit(gi, p, info); err != nil {
				return err
			}
		}
	}
	return nil
}

func walkCis(gi nvml.GpuInstance, visit ciVisitor) error {
	for p := 0; p < nvml.COMPUTE_INSTANCE_PROFILE_COUNT; p++ {
		for engine := 0; engine < nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT; engine++ {
			info, ret := gi.GetComputeInstanceProfileInfo(p, engine)
			if isHole(ret) {
				continue
			}
			if err := failed("compute profile", ret); err != nil {
				return err
			}
			cis, ret := gi.GetComputeInstances(&info)
			if err := failed("compute instances", ret); err != nil {
				return err
			}
			for _, ci := range cis {
				if err := visit(ci, p, info); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Names are not asked for, they are worked out: eighths of the memory in whole GiB.
func nameOf(c, g uint32, profile int, sliceMib, totalBytes uint64) string {
	eighths := math.Ceil(float64(sliceMib<<20) / float64(totalBytes) * 8)
	gib := math.Round(eighths / 8 * float64((totalBytes+1<<30-1)>>30))
	name := fmt.Sprintf("%dg.%.0fgb", g, gib)
	if c != g {
		name = fmt.Sprintf("%dc.%s", c, name)
	}
	if profile == nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1 ||
		profile == nvml.GPU_INSTANCE_PROFILE_2_SLICE_REV1 {
		name += "+me"
	}
	return name
}

func (m manager) look(i int) (found map[string]int, err error) {
	found = map[string]int{}
	err = m.device(i, func(device nvml.Device) error {
		memory, ret := device.GetMemoryInfo()
		if err := failed("memory", ret); err != nil {
			return err
		}
		return walkGis(device, func(gi nvml.GpuInstance, p int, g nvml.GpuInstanceProfileInfo) error {
			return walkCis(gi, func(_ nvml.ComputeInstance, _ int,
				c nvml.ComputeInstanceProfileInfo) error {
				found[nameOf(c.SliceCount, g.SliceCount, p, g.MemorySizeMB, memory.Total)]++
				return nil
			})
		})
	})
	return
}

func (m manager) clear(i int) error {
	return m.device(i, func(device nvml.Device) error {
		return walkGis(device, func(gi nvml.GpuInstance, _ int, _ nvml.GpuInstanceProfileInfo) error {
			err := walkCis(gi, func(ci nvml.ComputeInstance, _ int,
				_ nvml.ComputeInstanceProfileInfo) error {
				return failed("destroy compute instance", ci.Destroy())
			})
			if err != nil {
				return err
			}
			return failed("destroy GPU instance", gi.Destroy())
		})
	})
}

var computeProfiles = map[uint32]int{1: nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE,
	2: nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 3: nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE,
	4: nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 7: nvml.COMPUTE_INSTANCE_PROFILE_7_SLICE}

// Everything that this GPU could be cut into, by name.
func catalogue(device nvml.Device) (map[string]partition, error) {
	memory, ret := device.GetMemoryInfo()
	if err := failed("memory", ret); err != nil {
		return nil, err
	}
	all := map[string]partition{}
	for p := 0; p < nvml.GPU_INSTANCE_PROFILE_COUNT; p++ {
		info, ret := device.GetGpuInstanceProfileInfo(p)
		if isHole(ret) {
			continue
		}
		if err := failed("profile", ret); err != nil {
			return nil, err
		}
		for slices, ci := range computeProfiles {
			if slices <= info.SliceCount {
				name := nameOf(slices, info.SliceCount, p, info.MemorySizeMB, memory.Total)
				if _, isKnown := all[name]; !isKnown {
					all[name] = partition{name, p, ci}
				}
			}
		}
	}
	return all, nil
}

// One try, in this order; a compute instance goes into the GPU instance before it if it can.
func (m manager) create(device nvml.Device, order []partition) error {
	var gi nvml.GpuInstance
	last := -1
	for _, part := range order {
		info, ret := device.GetGpuInstanceProfileInfo(part.gi)
		if err := failed(part.name, ret); err != nil {
			return err
		}
		isAgain := gi != nil && last == part.gi
		last = part.gi
		if isAgain && m.compute(gi, part) == nil {
			continue
		}
		if gi, ret = device.CreateGpuInstance(&info); ret != nvml.SUCCESS {
			return failed(part.name, ret)
		}
		if err := m.compute(gi, part); err != nil {
			return err
		}
	}
	return nil
}

func (m manager) compute(gi nvml.GpuInstance, part partition) error {
	info, ret := gi.GetComputeInstanceProfileInfo(part.ci, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
	if err := failed(part.name, ret); err != nil {
		return err
	}
	_, ret = gi.CreateComputeInstance(&info)
	return failed(part.name, ret)
}

// All orders of the list; parts that are alike are not swapped.
func orders(list []partition, from int, try func([]partition) error) error {
	if from == len(list) {
		return try(list)
	}
	err := errors.New("no order fits")
	tried := map[partition]bool{}
	for i := from; i < len(list); i++ {
		if tried[list[i]] {
			continue
		}
		tried[list[i]] = true
		list[from], list[i] = list[i], list[from]
		if err = orders(list, from+1, try); err == nil {
			return nil
		}
		list[from], list[i] = list[i], list[from]
	}
	return err
}

func (m manager) cut(i int, wanted map[string]int) error {
	return m.device(i, func(device nvml.Device) error {
		all, err := catalogue(device)
		if err != nil {
			return err
		}
		var list []partition
		for name, n := range wanted {
			part, isKnown := all[name]
			if !isKnown {
				return fmt.Errorf("%s is not a profile of this GPU", name)
			}
			for ; n > 0; n-- {
				list = append(list, part)
			}
		}
		sort.Slice(list, func(a, b int) bool { return list[a].name < list[b].name })
		err = orders(list, 0, func(order []partition) error {
			if err := m.clear(i); err != nil {
				return err
			}
			return m.create(device, order)
		})
		if err != nil {
			return errors.Join(err, m.clear(i))
		}
		return nil
	})
}

func (m manager) setMode(i int, isOn bool) error {
	return m.device(i, func(device nvml.Device) error {
		mode := nvml.DEVICE_MIG_DISABLE
		if isOn {
			mode = nvml.DEVICE_MIG_ENABLE
		}
		_, ret := device.SetMigMode(mode) // what became of it the mode tells afterwards
		return failed("set mode", ret)
	})
}

// The mode of each GPU, and a reset of all when one has to wait for it.
func (m manager) applyModes(addresses []string, plans []gpuPlan) error {
	isPending := false
	for i := range addresses {
		isOn, _, isCapable, err := m.mode(i)
		if err != nil {
			return err
		}
		if !isCapable {
			if plans[i].Mig {
				return fmt.Errorf("GPU %d has no MIG", i)
			}
			continue
		}
		if isOn != plans[i].Mig {
			if isOn {
				if err := m.clear(i); err != nil {
					return err
				}
			}
			if err := m.setMode(i, plans[i].Mig); err != nil {
				return err
			}
		}
		isOn, willBe, _, err := m.mode(i)
		if err != nil {
			return err
		}
		isPending = isPending || isOn != willBe
	}
	if !isPending {
		return nil
	}
	smi := exec.Command("nvidia-smi", "-r", "-i", strings.Join(addresses, ","))
	if out, err := smi.CombinedOutput(); err != nil {
		return fmt.Errorf("reset: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (m manager) apply(addresses []string, plans []gpuPlan) error {
	if err := m.applyModes(addresses, plans); err != nil {
		return err
	}
	for i, plan := range plans {
		isOn, _, isCapable, err := m.mode(i)
		if err != nil || !isCapable {
			if err != nil {
				return err
			}
			continue
		}
		if isOn != plan.Mig {
			return fmt.Errorf("GPU %d: the mode is still %v", i, isOn)
		}
		if !isOn {
			continue
		}
		found, err := m.look(i)
		if err == nil && !reflect.DeepEqual(found, plan.Devices) {
			err = m.cut(i, plan.Devices)
		}
		if err != nil {
			return fmt.Errorf("GPU %d: %w", i, err)
		}
	}
	return nil
}

func (m manager) export(addresses []string) ([]gpuPlan, error) {
	plans := make([]gpuPlan, len(addresses))
	for i := range addresses {
		isOn, _, _, err := m.mode(i)
		if err != nil {
			return nil, err
		}
		plans[i] = gpuPlan{isOn, map[string]int{}}
		if isOn {
			if plans[i].Devices, err = m.look(i); err != nil {
				return nil, err
			}
		}
	}
	return plans, nil
}

func (m manager) save(addresses []string) ([]savedGpu, error) {
	var saved []savedGpu
	for i := range addresses {
		isOn, _, isCapable, err := m.mode(i)
		if err != nil {
			return nil, err
		}
		if !isCapable {
			continue
		}
		err = m.device(i, func(device nvml.Device) error {
			uuid, ret := device.GetUUID()
			gpu := savedGpu{UUID: uuid, Mig: isOn}
			if err := failed("uuid", ret); err != nil || !isOn {
				saved = append(saved, gpu)
				return err
			}
			err := walkGis(device, func(gi nvml.GpuInstance, p int,
				_ nvml.GpuInstanceProfileInfo) error {
				info, ret := gi.GetInfo()
				one := savedGi{Profile: p, Start: info.Placement.Start, Size: info.Placement.Size}
				err := walkCis(gi, func(_ nvml.ComputeInstance, c int,
					_ nvml.ComputeInstanceProfileInfo) error {
					one.ComputeParts = append(one.ComputeParts, c)
					return nil
				})
				gpu.Instances = append(gpu.Instances, one)
				return errors.Join(failed("info", ret), err)
			})
			saved = append(saved, gpu)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return saved, nil
}

func (m manager) restoreOne(i int, gpu savedGpu) error {
	if isOn, _, _, err := m.mode(i); err != nil || isOn != gpu.Mig {
		if err == nil {
			err = m.setMode(i, gpu.Mig)
		}
		if err != nil {
			return err
		}
	}
	if !gpu.Mig {
		return nil
	}
	if err := m.clear(i); err != nil {
		return err
	}
	return m.device(i, func(device nvml.Device) error {
		for _, one := range gpu.Instances {
			info, ret := device.GetGpuInstanceProfileInfo(one.Profile)
			if err := failed("profile", ret); err != nil {
				return err
			}
			gi, ret := device.CreateGpuInstanceWithPlacement(&info,
				&nvml.GpuInstancePlacement{Start: one.Start, Size: one.Size})
			if err := failed("create", ret); err != nil {
				return err
			}
			for _, c := range one.ComputeParts {
				if err := m.compute(gi, partition{"compute instance", one.Profile, c}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (m manager) restore(saved []savedGpu) error {
	for _, gpu := range saved {
		index := 0
		err := m.session(func() error {
			device, ret := m.lib.DeviceGetHandleByUUID(gpu.UUID)
			if err := failed("by UUID", ret); err != nil {
				return err
			}
			index, ret = device.GetIndex()
			return failed("index", ret)
		})
		if err == nil {
			err = m.restoreOne(index, gpu)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", gpu.UUID, err)
		}
	}
	return nil
}

func (m manager) run(args []string) (any, error) {
	if err := moduleIsLoaded(); err != nil {
		return nil, err
	}
	if err := m.versionIsNewEnough(); err != nil {
		return nil, err
	}
	addresses, err := m.gpus()
	if err != nil {
		return nil, err
	}
	switch args[0] {
	case "export":
		return m.export(addresses)
	case "save":
		return m.save(addresses)
	case "restore":
		var saved []savedGpu
		if err := json.Unmarshal([]byte(args[1]), &saved); err != nil {
			return nil, err
		}
		return nil, m.restore(saved)
	}
	var plans []gpuPlan
	if err := json.Unmarshal([]byte(args[1]), &plans); err != nil {
		return nil, err
	}
	if len(plans) != len(addresses) {
		return nil, fmt.Errorf("%d GPUs, not %d", len(addresses), len(plans))
	}
	for i := range plans {
		if plans[i].Devices == nil {
			plans[i].Devices = map[string]int{}
		}
	}
	if args[0] == "apply" {
		return nil, m.apply(addresses, plans)
	}
	found, err := m.export(addresses)
	if err == nil && !reflect.DeepEqual(found, plans) {
		err = fmt.Errorf("%v, not %v", found, plans)
	}
	return nil, err
}

// Works in a session of its own beside the caller's, as such a manager does.
func parted(lib nvml.Interface, args []string) {
	answer, err := manager{lib}.run(args)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if answer != nil {
		json.NewEncoder(os.Stdout).Encode(answer)
	}
}
