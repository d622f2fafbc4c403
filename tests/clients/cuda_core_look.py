"""NVIDIA's own Python view of a machine (cuda.core.system), as JSON: every property of every GPU,
then its slices; what is refused appears as the name of the exception."""
import json

from cuda.core import system


def look(thing, depth=0):
    out = {}
    for name in (n for n in dir(thing) if not n.startswith("_") and n != "parent"):
        try:
            value = getattr(thing, name)
        except Exception as refusal:  # pylint: disable=broad-except
            out[name] = type(refusal).__name__
            continue
        if callable(value):
            continue
        is_view = type(value).__module__.startswith("cuda") and not hasattr(value, "name")
        out[name] = look(value, depth + 1) if is_view and depth < 2 else str(value)
    return out


def main():
    gpus = []
    for device in system.Device.get_all_devices():
        slices = list(device.mig.get_all_devices()) if gpu_has_mig(device) else []
        gpus.append({"gpu": look(device), "slices": [
            {"name": s.name, "uuid": s.uuid, "memory": s.memory_info.total,
             "attributes": look(s.attributes), "parent": s.mig.parent.uuid,
             "processes": [p.pid for p in s.compute_running_processes]} for s in slices]})
    near = system.Device.get_all_devices_with_cpu_affinity(0)
    print(json.dumps({"driver": system.get_kernel_mode_driver_version(),
                      "near_cpu_0": [d.uuid for d in near], "gpus": gpus}))


def gpu_has_mig(device):
    try:
        return device.mig.mode
    except system.NotSupportedError:
        return False


main()
