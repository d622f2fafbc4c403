#include "driver/nvml.h"
#include "base/cleanup.h"
#include <dlfcn.h>
#include <string.h>

/* Loading the library, and the one place where its return values get a meaning.
 *
 * RTLD_LAZY: a library with a reference that we never call should still serve.  RTLD_LOCAL: its
 * symbols are nobody else's business. */

int nvml_load(struct nvml *nvml, const char *path, struct error *err)
{
    struct nvml fresh = {.library = dlopen(path, RTLD_LAZY | RTLD_LOCAL)};

    if (!fresh.library) {
        const char *why = dlerror();
        return err_set(err, ENOENT,
                       "The driver library cannot be loaded: %s. Install the NVIDIA driver, name "
                       "the library with --driver, or try --simulate",
                       why ? why : path);
    }
#define FIND(member, symbol, arguments)                                                            \
    fresh.member = (nvml_return(*) arguments)dlsym(fresh.library, symbol);
    NVML_FUNCTIONS(FIND)
#undef FIND
    if (!fresh.init || !fresh.shutdown || !fresh.count || !fresh.by_index || !fresh.uuid) {
        dlclose(fresh.library);
        return err_set(err, ELIBBAD,
                       "%s is not a usable NVIDIA management library: nvmlInit_v2, nvmlShutdown, "
                       "nvmlDeviceGetCount_v2, nvmlDeviceGetHandleByIndex_v2 or nvmlDeviceGetUUID "
                       "is missing",
                       path);
    }
    *nvml = fresh;
    return 0;
}

void nvml_unload(struct nvml *nvml)
{
    if (nvml->library) {
        dlclose(nvml->library);
    }
    *nvml = (struct nvml){0};
}

static const struct {
    nvml_return nvml;
    int code;
    const char *text;
} answers[] = {
    {NVML_ERROR_UNINITIALIZED, ESHUTDOWN, "the library says that it was not initialised"},
    {NVML_ERROR_INVALID_ARGUMENT, EINVAL, "the driver does not accept it (invalid argument)"},
    {NVML_ERROR_NOT_SUPPORTED, EOPNOTSUPP, "this GPU does not support it in its present mode"},
    {NVML_ERROR_NO_PERMISSION, EACCES,
     "no permission; run tangramd as root or give it the MIG config capability"},
    {NVML_ERROR_NOT_FOUND, ENOENT, "the driver does not find it"},
    {NVML_ERROR_INSUFFICIENT_SIZE, ENOBUFS, "the driver's answer is larger than its limit"},
    {8, EIO, "the GPU's external power cables are not attached"},
    {NVML_ERROR_DRIVER_NOT_LOADED, ENODEV,
     "the NVIDIA kernel driver is not loaded; load it (modprobe nvidia) and look at dmesg"},
    {NVML_ERROR_TIMEOUT, ETIMEDOUT, "the driver gave up after its own timeout"},
    {11, EIO, "the kernel has a problem with the GPU's interrupts"},
    {NVML_ERROR_LIBRARY_NOT_FOUND, ELIBACC, "the driver misses one of its own libraries"},
    {NVML_ERROR_FUNCTION_NOT_FOUND, ENOSYS, "this version of the driver has no such call"},
    {14, EIO, "the GPU's InfoROM is corrupted"},
    {NVML_ERROR_GPU_IS_LOST, ENODEV,
     "the GPU is lost (fell off the bus); the machine has to be rebooted"},
    {NVML_ERROR_RESET_REQUIRED, ENOTRECOVERABLE,
     "the GPU needs a reset first (nvidia-smi --gpu-reset, or a reboot)"},
    {17, EIO, "the operating system or its control groups refused it"},
    {NVML_ERROR_LIB_RM_VERSION_MISMATCH, ELIBBAD,
     "kernel driver and library have different versions; reload the driver or reboot"},
    {NVML_ERROR_IN_USE, EBUSY, "it is in use by another client"},
    {NVML_ERROR_MEMORY, ENOMEM, "not enough memory"},
    {NVML_ERROR_NO_DATA, ENODATA, "the driver has no data"},
    {NVML_ERROR_INSUFFICIENT_RESOURCES, ENOSPC, "the GPU has no room for it"},
    {NVML_ERROR_ARGUMENT_VERSION_MISMATCH, EPROTO,
     "the driver does not know this version of the request"},
    {26, ENOSYS, "the driver no longer offers it"},
    {NVML_ERROR_NOT_READY, EAGAIN, "the driver is not ready for it yet"},
    {NVML_ERROR_GPU_NOT_FOUND, ENODEV, "there is no GPU"},
    {NVML_ERROR_INVALID_STATE, EIO, "the GPU is not in the state that this needs"},
};

int nvml_errno(nvml_return answer)
{
    if (answer == NVML_SUCCESS) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        if (answers[i].nvml == answer) {
            return answers[i].code;
        }
    }
    return EIO;
}

const char *nvml_text(nvml_return answer)
{
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        if (answers[i].nvml == answer) {
            return answers[i].text;
        }
    }
    return "the driver reports an internal error; look at dmesg";
}
