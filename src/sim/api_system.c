#include "base/text.h"
#include "sim/call.h"
#include "sim/nvml.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static enum nvml_return init(const char *name)
{
    enum nvml_return rc = session_open();
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    CLEANUP(call_end) struct call c = {0};
    rc = call_system(&c, name);
    if (rc == NVML_SUCCESS) {
        latency_sleep_us(c.file->latency.init_us);
        return NVML_SUCCESS;
    }
    session_close();
    return rc;
}

/* NVML_INIT_FLAG_NO_GPUS and _NO_ATTACH change nothing for us. */
enum nvml_return nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    return init(__func__);
}

enum nvml_return nvmlInit_v2(void)
{
    return init(__func__);
}

enum nvml_return nvmlInit(void)
{
    return init(__func__);
}

enum nvml_return nvmlShutdown(void)
{
    return session_close();
}

/* Texts as the real library has them (550), without a driver, too. */
static const char *const error_texts[] = {
    [NVML_SUCCESS] = "Success",
    [NVML_ERROR_UNINITIALIZED] = "Uninitialized",
    [NVML_ERROR_INVALID_ARGUMENT] = "Invalid Argument",
    [NVML_ERROR_NOT_SUPPORTED] = "Not Supported",
    [NVML_ERROR_NO_PERMISSION] = "Insufficient Permissions",
    [NVML_ERROR_ALREADY_INITIALIZED] = "Already Initialized",
    [NVML_ERROR_NOT_FOUND] = "Not Found",
    [NVML_ERROR_INSUFFICIENT_SIZE] = "Insufficient Size",
    [NVML_ERROR_INSUFFICIENT_POWER] = "Insufficient External Power",
    [NVML_ERROR_DRIVER_NOT_LOADED] = "Driver Not Loaded",
    [NVML_ERROR_TIMEOUT] = "Timeout",
    [NVML_ERROR_IRQ_ISSUE] = "Interrupt Request Issue",
    [NVML_ERROR_LIBRARY_NOT_FOUND] = "NVML Shared Library Not Found",
    [NVML_ERROR_FUNCTION_NOT_FOUND] = "Function Not Found",
    [NVML_ERROR_CORRUPTED_INFOROM] = "Corrupted infoROM",
    [NVML_ERROR_GPU_IS_LOST] = "GPU is lost",
    [NVML_ERROR_RESET_REQUIRED] = "GPU requires restart",
    [NVML_ERROR_OPERATING_SYSTEM] = "The operating system has blocked the request.",
    [NVML_ERROR_LIB_RM_VERSION_MISMATCH] = "RM has detected an NVML/RM version mismatch.",
    [NVML_ERROR_IN_USE] = "In use by another client",
    [NVML_ERROR_MEMORY] = "Insufficient Memory",
    [NVML_ERROR_NO_DATA] = "No data",
    [NVML_ERROR_VGPU_ECC_NOT_SUPPORTED] =
        "The requested vgpu operation is not available on target device, because ECC is enabled",
    [NVML_ERROR_INSUFFICIENT_RESOURCES] = "Insufficient Resources",
    [NVML_ERROR_FREQ_NOT_SUPPORTED] = "Frequency Not Supported",
    [NVML_ERROR_ARGUMENT_VERSION_MISMATCH] = "Argument Version Mismatch",
    [NVML_ERROR_DEPRECATED] = "Deprecated",
    [NVML_ERROR_NOT_READY] = "Not Ready",
    [NVML_ERROR_GPU_NOT_FOUND] = "GPU Not Found",
    [NVML_ERROR_INVALID_STATE] = "Invalid State",
};

const char *nvmlErrorString(enum nvml_return result)
{
    return (unsigned int)result < ARRAY_SIZE(error_texts) ? error_texts[result] : "Unknown Error";
}

static int driver_major(const struct sim_file *file)
{
    return (int)strtol(file->driver_version, NULL, 10);
}

/* The CUDA release that each driver branch brought. */
static int cuda_version(int driver)
{
    static const struct {
        int driver, cuda;
    } table[] = {{590, 13010}, {580, 13000}, {575, 12090}, {570, 12080}, {565, 12070},
                 {560, 12060}, {555, 12050}, {550, 12040}, {545, 12030}, {535, 12020},
                 {530, 12010}, {525, 12000}, {520, 11080}, {515, 11070}, {510, 11060},
                 {495, 11050}, {470, 11040}, {465, 11030}, {460, 11020}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (driver >= table[i].driver) {
            return table[i].cuda;
        }
    }
    return 11000;
}

enum nvml_return nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    return rc != NVML_SUCCESS ? rc : put_text(version, length, c.file->driver_version);
}

enum nvml_return nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    char text[100];
    snprintf(text, sizeof(text), "%d.%s", cuda_version(driver_major(c.file)) / 1000,
             c.file->driver_version);
    return put_text(version, length, text);
}

static enum nvml_return put_cuda_version(const char *name, int *version)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!version) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *version = cuda_version(driver_major(c.file));
    return NVML_SUCCESS;
}

enum nvml_return nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return put_cuda_version(__func__, version);
}

enum nvml_return nvmlSystemGetCudaDriverVersion(int *version)
{
    return put_cuda_version(__func__, version);
}

enum nvml_return nvmlSystemGetDriverBranch(struct nvml_driver_branch *branch, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!branch) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (branch->version != NVML_STRUCT_VERSION(struct nvml_driver_branch, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    char text[32];
    snprintf(text, sizeof(text), "r%d_00", driver_major(c.file));
    unsigned int room = sizeof(branch->branch);
    return put_text(branch->branch, length < room ? length : room, text);
}

enum nvml_return nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!name || length == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    char path[64], command[1024];
    snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, command, sizeof(command) - 1);
    if (n <= 0) {
        return NVML_ERROR_NOT_FOUND;
    }
    command[n] = '\0';
    text_copy(name, length, command); /* cut to fit, as nvml.h says */
    return NVML_SUCCESS;
}

static enum nvml_return count_nothing(const char *name, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    if (rc == NVML_SUCCESS && !count) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *count = 0;
    }
    return rc;
}

enum nvml_return nvmlGetExcludedDeviceCount(unsigned int *count)
{
    return count_nothing(__func__, count);
}

enum nvml_return nvmlGetBlacklistDeviceCount(unsigned int *count)
{
    return count_nothing(__func__, count);
}

enum nvml_return nvmlUnitGetCount(unsigned int *count)
{
    return count_nothing(__func__, count);
}

/* An entry of an empty list. */
static enum nvml_return no_such(const char *name)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    return rc != NVML_SUCCESS ? rc : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return nvmlGetExcludedDeviceInfoByIndex(unsigned int index, void *info)
{
    (void)index;
    (void)info;
    return no_such(__func__);
}

enum nvml_return nvmlGetBlacklistDeviceInfoByIndex(unsigned int index, void *info)
{
    (void)index;
    (void)info;
    return no_such(__func__);
}

enum nvml_return nvmlUnitGetHandleByIndex(unsigned int index, void **unit)
{
    (void)index;
    (void)unit;
    return no_such(__func__);
}

enum nvml_return nvmlSystemGetHicVersion(unsigned int *count, void *entries)
{
    (void)entries;
    return count_nothing(__func__, count);
}
