// A client of NVIDIA's Go bindings.  `look` calls every function that needs no argument, by
// reflection, and prints what came out as JSON; `life GPU` goes through the life of slices with
// every MIG function that the bindings wrap and stops at the first surprise; `parted ...` works as a
// partition manager does (parted.go).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// What changes something, or is not a call.
var skipped = []string{"Set", "Reset", "Clear", "Create", "Destroy", "Shutdown", "Init", "Lock",
	"Unlock", "TryLock", "Extensions", "Remove", "Discover", "Modify", "Validate", "GpmSample"}

// The symbol behind a method, as far as its name tells; the bindings are newer than the library.
func exported(lib nvml.Interface, prefixes []string, name string) bool {
	for _, prefix := range prefixes {
		for _, suffix := range []string{"", "_v1", "_v2", "_v3", "_v4"} {
			if lib.Extensions().LookupSymbol("nvml"+prefix+name+suffix) == nil {
				return true
			}
		}
	}
	return false
}

// name -> [results ..., return code] of every method without arguments.
func look(lib nvml.Interface, object any, prefixes ...string) map[string]any {
	out := map[string]any{}
	value := reflect.ValueOf(object)
next:
	for i := 0; i < value.NumMethod(); i++ {
		name := value.Type().Method(i).Name
		for _, prefix := range skipped {
			if strings.HasPrefix(name, prefix) {
				continue next
			}
		}
		method := value.Method(i)
		last := method.Type().NumOut() - 1
		if method.Type().NumIn() != 0 || last < 0 ||
			method.Type().Out(last) != reflect.TypeOf(nvml.SUCCESS) ||
			!exported(lib, prefixes, name) {
			continue
		}
		results := method.Call(nil)
		answer := []any{nvml.Return(results[last].Int()).Error()}
		for _, result := range results[:last] {
			switch result.Kind() {
			case reflect.Interface, reflect.Struct, reflect.Ptr:
				answer = append(answer, fmt.Sprintf("%+v", result.Interface()))
			default:
				answer = append(answer, result.Interface())
			}
		}
		out[name] = answer
	}
	return out
}

func must(what string, ret nvml.Return, want nvml.Return) {
	if ret != want {
		fmt.Printf("%s: %v, not %v\n", what, ret, want)
		os.Exit(1)
	}
}

func same(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		fmt.Printf("%s: %v, not %v\n", what, got, want)
		os.Exit(1)
	}
}

func lookAtAll(lib nvml.Interface) {
	out := map[string]any{"system": look(lib, lib, "")}
	count, ret := lib.DeviceGetCount()
	must("count", ret, nvml.SUCCESS)
	for i := 0; i < count; i++ {
		device, ret := lib.DeviceGetHandleByIndex(i)
		must("handle", ret, nvml.SUCCESS)
		out[fmt.Sprint("gpu", i)] = look(lib, device, "Device")
		max, ret := device.GetMaxMigDeviceCount()
		must("most MIG devices", ret, nvml.SUCCESS)
		for k := 0; k < max; k++ {
			mig, ret := device.GetMigDeviceHandleByIndex(k)
			if ret == nvml.SUCCESS {
				out[fmt.Sprint("gpu", i, "mig", k)] = look(lib, mig, "Device")
			}
		}
	}
	json.NewEncoder(os.Stdout).Encode(out)
}

// Every profile once, where the driver likes and where told to, with a compute instance of each
// size that fits; then all of it away again.
func life(lib nvml.Interface, device nvml.Device) {
	status, ret := device.SetMigMode(nvml.DEVICE_MIG_ENABLE)
	must("MIG on", ret, nvml.SUCCESS)
	must("MIG on, activation", status, nvml.SUCCESS)
	seen := 0
	for p := 0; p < nvml.GPU_INSTANCE_PROFILE_COUNT; p++ {
		info, ret := device.GetGpuInstanceProfileInfo(p)
		if ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_INVALID_ARGUMENT {
			continue
		}
		must("profile", ret, nvml.SUCCESS)
		seen++
		profile(lib, device, p, info)
	}
	same("every profile is free again", seen > 0, true)
	_, ret = device.GetGpuInstanceById(3)
	must("a GPU instance that is not there", ret, nvml.ERROR_NOT_FOUND)
	status, ret = device.SetMigMode(nvml.DEVICE_MIG_DISABLE)
	must("MIG off", ret, nvml.SUCCESS)
	must("MIG off, activation", status, nvml.SUCCESS)
	fmt.Println("lived", seen)
}

func profile(lib nvml.Interface, device nvml.Device, p int, info nvml.GpuInstanceProfileInfo) {
	v2, ret := device.GetGpuInstanceProfileInfoV(p).V2()
	must("profile v2", ret, nvml.SUCCESS)
	v3, ret := device.GetGpuInstanceProfileInfoV(p).V3()
	must("profile v3", ret, nvml.SUCCESS)
	same("memory", []uint64{v2.MemorySizeMB, v3.MemorySizeMB},
		[]uint64{info.MemorySizeMB, info.MemorySizeMB})
	byId, ret := device.GetGpuInstanceProfileInfoByIdV(int(info.Id)).V2()
	must("profile by id", ret, nvml.SUCCESS)
	same("by id and by number", byId, v2)
	room, ret := device.GetGpuInstanceRemainingCapacity(&info)
	must("room", ret, nvml.SUCCESS)
	places, ret := device.GetGpuInstancePossiblePlacements(&info)
	must("placements", ret, nvml.SUCCESS)
	for i := range places {
		gi, ret := device.CreateGpuInstanceWithPlacement(&info, &places[i])
		must("create where told", ret, nvml.SUCCESS)
		told, ret := gi.GetInfo()
		must("its info", ret, nvml.SUCCESS)
		same("placement", told.Placement, places[i])
		same("profile", told.ProfileId, info.Id)
		_, ret = device.CreateGpuInstanceWithPlacement(&info, &places[i])
		must("the same place again", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
		must("destroy", gi.Destroy(), nvml.SUCCESS)
		must("destroy again", gi.Destroy(), nvml.ERROR_INVALID_ARGUMENT)
	}
	gi, ret := device.CreateGpuInstance(&info)
	must("create", ret, nvml.SUCCESS)
	told, _ := gi.GetInfo()
	again, ret := device.GetGpuInstanceById(int(told.Id))
	must("by id", ret, nvml.SUCCESS)
	same("the same handle", again, gi)
	listed, ret := device.GetGpuInstances(&info)
	must("list", ret, nvml.SUCCESS)
	same("listed", listed, []nvml.GpuInstance{gi})
	for c := 0; c < nvml.COMPUTE_INSTANCE_PROFILE_COUNT; c++ {
		compute(lib, device, gi, c)
	}
	must("destroy", gi.Destroy(), nvml.SUCCESS)
	left, ret := device.GetGpuInstanceRemainingCapacity(&info)
	must("room", ret, nvml.SUCCESS)
	same("room is back", left, room)
}

func compute(lib nvml.Interface, device nvml.Device, gi nvml.GpuInstance, c int) {
	const shared = nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
	info, ret := gi.GetComputeInstanceProfileInfo(c, shared)
	if ret == nvml.ERROR_NOT_SUPPORTED {
		return
	}
	must("compute profile", ret, nvml.SUCCESS)
	v2, ret := gi.GetComputeInstanceProfileInfoV(c, shared).V2()
	must("compute profile v2", ret, nvml.SUCCESS)
	v3, ret := gi.GetComputeInstanceProfileInfoV(c, shared).V3()
	must("compute profile v3", ret, nvml.SUCCESS)
	same("ids", []uint32{v2.Id, v3.Id}, []uint32{info.Id, info.Id})
	_, ret = gi.GetComputeInstanceProfileInfo(c, shared+1)
	must("another engine profile", ret, nvml.ERROR_INVALID_ARGUMENT)
	room, ret := gi.GetComputeInstanceRemainingCapacity(&info)
	must("compute room", ret, nvml.SUCCESS)
	same("as many as the profile says", room, int(info.InstanceCount))
	places, ret := gi.GetComputeInstancePossiblePlacements(&info)
	must("compute placements", ret, nvml.SUCCESS)
	ci, ret := gi.CreateComputeInstanceWithPlacement(&info, &places[len(places)-1])
	must("create a compute instance where told", ret, nvml.SUCCESS)
	must("destroy under it", gi.Destroy(), nvml.ERROR_IN_USE)
	must("destroy it", ci.Destroy(), nvml.SUCCESS)
	ci, ret = gi.CreateComputeInstance(&info)
	must("create a compute instance", ret, nvml.SUCCESS)
	told, ret := ci.GetInfo()
	must("compute info", ret, nvml.SUCCESS)
	same("compute profile", told.ProfileId, info.Id)
	same("its GPU", told.Device, device)
	listed, ret := gi.GetComputeInstances(&info)
	must("list", ret, nvml.SUCCESS)
	same("listed", listed, []nvml.ComputeInstance{ci})
	mig, ret := device.GetMigDeviceHandleByIndex(0)
	must("MIG device", ret, nvml.SUCCESS)
	uuid, ret := mig.GetUUID()
	must("UUID", ret, nvml.SUCCESS)
	found, ret := lib.DeviceGetHandleByUUID(uuid)
	must("by UUID", ret, nvml.SUCCESS)
	same("by UUID", found, mig)
	parent, ret := mig.GetDeviceHandleFromMigDeviceHandle()
	must("parent", ret, nvml.SUCCESS)
	same("parent", parent, device)
	attributes, ret := mig.GetAttributes()
	must("attributes", ret, nvml.SUCCESS)
	same("slices", attributes.ComputeInstanceSliceCount, info.SliceCount)
	must("destroy", ci.Destroy(), nvml.SUCCESS)
	_, ret = mig.GetName()
	must("a MIG device that is gone", ret, nvml.ERROR_INVALID_ARGUMENT)
}

func main() {
	lib := nvml.New()
	must("init", lib.Init(), nvml.SUCCESS)
	defer lib.Shutdown()
	if len(os.Args) == 3 && os.Args[1] == "life" {
		index, _ := strconv.Atoi(os.Args[2])
		device, ret := lib.DeviceGetHandleByIndex(index)
		must("handle", ret, nvml.SUCCESS)
		life(lib, device)
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "parted" {
		parted(lib, os.Args[2:])
		return
	}
	lookAtAll(lib)
}
