#include "sim/answer.h"
#include "sim/load.h"
#include "sim/nvml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MIB (1024ULL * 1024ULL)

static enum nvml_return get_count(const char *name, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = c.file->gpu_count;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCount_v2(unsigned int *count)
{
    return get_count(__func__, count);
}

enum nvml_return nvmlDeviceGetCount(unsigned int *count)
{
    return get_count(__func__, count);
}

static enum nvml_return get_by_index(const char *name, unsigned int index,
                                     struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gpu(&c, name, index, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *device = handle_gpu(index);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct nvml_device **device)
{
    return get_by_index(__func__, index, device);
}

enum nvml_return nvmlDeviceGetHandleByIndex(unsigned int index, struct nvml_device **device)
{
    return get_by_index(__func__, index, device);
}

/* Is it one of this GPU's MIG devices, in the new or in the old form of MIG UUID? */
static bool find_mig(const struct call *c, const char *uuid, unsigned int *ret_gi,
                     unsigned int *ret_ci)
{
    for (unsigned int i = 0; slice_by_index(c->state, i, ret_gi, ret_ci); i++) {
        char form[80];
        slice_uuid(c->model, c->gpu, c->state, *ret_gi, *ret_ci, form);
        if (strcasecmp(form, uuid) == 0) {
            return true;
        }
        snprintf(form, sizeof(form), "MIG-%s/%u/%u", c->gpu->uuid, *ret_gi, *ret_ci);
        if (strcasecmp(form, uuid) == 0) {
            return true;
        }
    }
    return false;
}

static enum nvml_return find_uuid(const char *name, const char *uuid, struct nvml_device **device)
{
    unsigned int count = 1;
    enum nvml_return lost = NVML_ERROR_NOT_FOUND;
    for (uint32_t i = 0; i < count; i++) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_gpu(&c, name, i, CALL_GPU);
        if (!c.gpu) {
            return rc; /* not initialised, or a fault */
        }
        count = c.file->gpu_count;
        unsigned int gi = 0, ci = 0;
        if (strcasecmp(c.gpu->uuid, uuid) == 0) {
            *device = handle_gpu(i);
            return rc;
        }
        if (rc == NVML_SUCCESS && find_mig(&c, uuid, &gi, &ci)) {
            *device = handle_mig(&c, gi, ci);
            return NVML_SUCCESS;
        }
    }
    return lost;
}

enum nvml_return nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    return !uuid || !device ? NVML_ERROR_INVALID_ARGUMENT : find_uuid("", uuid, device);
}

enum nvml_return nvmlDeviceGetHandleByUUIDV(const struct nvml_uuid *uuid,
                                            struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!uuid || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (uuid->version != NVML_STRUCT_VERSION(struct nvml_uuid, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    const unsigned char *b = uuid->value.bytes;
    char hex[40];
    snprintf(hex, sizeof(hex),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    char text[48];
    if (uuid->type == 1) {
        snprintf(text, sizeof(text), "%.41s", uuid->value.text);
        return find_uuid("", text, device);
    }
    if (uuid->type != 2) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    snprintf(text, sizeof(text), "GPU-%s", hex);
    rc = find_uuid("", text, device);
    if (rc == NVML_ERROR_NOT_FOUND) {
        snprintf(text, sizeof(text), "MIG-%s", hex);
        rc = find_uuid("", text, device);
    }
    return rc;
}

enum nvml_return nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!serial || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < c.file->gpu_count; i++) {
        if (strcmp(c.file->gpus[i].serial_number, serial) == 0) {
            *device = handle_gpu(i);
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

/* "0000:07:00.0", "00000000:07:00.0", "07:00.0", "0:7:0.0"; the function may be left out. */
static bool parse_bus_id(const char *text, unsigned int part[3])
{
    unsigned int domain = 0, bus = 0, device = 0, function = 0;
    int n = 0;
    if ((sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &n) == 4 && !text[n]) ||
        (sscanf(text, "%x:%x:%x%n", &domain, &bus, &device, &n) == 3 && !text[n])) {
        part[0] = domain;
    } else if ((sscanf(text, "%x:%x.%x%n", &bus, &device, &function, &n) == 3 && !text[n]) ||
               (sscanf(text, "%x:%x%n", &bus, &device, &n) == 2 && !text[n])) {
        part[0] = 0;
    } else {
        return false;
    }
    part[1] = bus;
    part[2] = device;
    return true;
}

static enum nvml_return get_by_bus_id(const char *name, const char *bus_id,
                                      struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned int part[3];
    if (!bus_id || !device || !parse_bus_id(bus_id, part)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < c.file->gpu_count; i++) {
        if (part[0] == 0 && part[1] == c.file->gpus[i].bus && part[2] == 0) {
            *device = handle_gpu(i);
            return c.file->gpus[i].is_lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

enum nvml_return nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, struct nvml_device **device)
{
    return get_by_bus_id(__func__, bus_id, device);
}

enum nvml_return nvmlDeviceGetHandleByPciBusId(const char *bus_id, struct nvml_device **device)
{
    return get_by_bus_id(__func__, bus_id, device);
}

enum nvml_return nvmlDeviceGetName(struct nvml_device *device, char *name, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    char text[160];
    if (c.is_mig) {
        const struct sim_ci *ci = &c.state->gis[c.gi].cis[c.ci];
        snprintf(text, sizeof(text), "%s MIG %s", c.model->name,
                 call_gi_profile(&c)->cis[ci->profile].name);
    } else {
        snprintf(text, sizeof(text), "%s", c.model->name);
    }
    return put_text(name, length, text);
}

enum nvml_return nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    char text[48];
    if (c.is_mig) {
        slice_uuid(c.model, c.gpu, c.state, c.gi, c.ci, text);
    } else {
        snprintf(text, sizeof(text), "%s", c.gpu->uuid);
    }
    return put_text(uuid, length, text);
}

enum nvml_return nvmlDeviceGetIndex(struct nvml_device *device, unsigned int *index)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!index) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *index = c.is_mig ? slice_index(c.state, c.gi, c.ci) : c.index;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned int *minor)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!minor) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *minor = c.gpu->minor;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetSerial(struct nvml_device *device, char *serial, unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    return rc != NVML_SUCCESS ? rc : put_text(serial, length, c.gpu->serial_number);
}

enum nvml_return nvmlDeviceGetPdi(struct nvml_device *device, struct nvml_pdi *pdi)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!pdi) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pdi->version != NVML_STRUCT_VERSION(struct nvml_pdi, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    pdi->value = c.gpu->pdi;
    return NVML_SUCCESS;
}

static unsigned int pci_device_id(const struct call *c)
{
    return (unsigned int)c->model->pci_id << 16 | 0x10DE;
}

/* 0 where it is not known. */
static unsigned int pci_subsystem_id(const struct call *c)
{
    int id = c->model->board.subsystem;
    return id > 0 ? (unsigned int)id << 16 | 0x10DE : 0;
}

static enum nvml_return get_pci(const char *name, struct nvml_device *device,
                                struct nvml_pci_info *pci)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *pci = (struct nvml_pci_info){.bus = c.gpu->bus,
                                  .pci_device_id = pci_device_id(&c),
                                  .pci_subsystem_id = pci_subsystem_id(&c)};
    snprintf(pci->bus_id_legacy, sizeof(pci->bus_id_legacy), "0000:%02X:00.0", c.gpu->bus);
    snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:%02X:00.0", c.gpu->bus);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci_info *pci)
{
    return get_pci(__func__, device, pci);
}

struct nvml_pci_info_v2 pci_info_v2(const struct nvml_pci_info *full)
{
    struct nvml_pci_info_v2 old = {.bus = full->bus,
                                   .pci_device_id = full->pci_device_id,
                                   .pci_subsystem_id = full->pci_subsystem_id};
    memcpy(old.bus_id, full->bus_id_legacy, sizeof(old.bus_id));
    return old;
}

static enum nvml_return get_pci_old(const char *name, struct nvml_device *device,
                                    struct nvml_pci_info_v2 *pci)
{
    struct nvml_pci_info full;
    enum nvml_return rc = get_pci(name, device, &full);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *pci = pci_info_v2(&full);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci_info_v2 *pci)
{
    return get_pci_old(__func__, device, pci);
}

enum nvml_return nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci_info_v2 *pci)
{
    return get_pci_old(__func__, device, pci);
}

enum nvml_return nvmlDeviceGetPciInfoExt(struct nvml_device *device, struct nvml_pci_info_ext *pci)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pci->version != NVML_STRUCT_VERSION(struct nvml_pci_info_ext, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    *pci = (struct nvml_pci_info_ext){.version = pci->version,
                                      .bus = c.gpu->bus,
                                      .pci_device_id = pci_device_id(&c),
                                      .pci_subsystem_id = pci_subsystem_id(&c),
                                      .base_class = 0x03,
                                      .sub_class = 0x02};
    snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:%02X:00.0", c.gpu->bus);
    return NVML_SUCCESS;
}

/* One number about the GPU itself. */
static enum nvml_return get_number(const char *name, struct nvml_device *device, unsigned int *ret,
                                   unsigned int (*what)(const struct call *))
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_MIG);
    if (rc == NVML_SUCCESS && !ret) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *ret = what(&c);
    }
    return rc;
}

static unsigned int brand(const struct call *c)
{
    return strstr(c->model->name, "RTX") ? 13 : 14; /* NVML_BRAND_NVIDIA_RTX, _NVIDIA */
}

enum nvml_return nvmlDeviceGetBrand(struct nvml_device *device, unsigned int *ret)
{
    return get_number(__func__, device, ret, brand);
}

static unsigned int architecture(const struct call *c)
{
    static const unsigned int numbers[] = {[SIM_ARCH_TURING] = 6,
                                           [SIM_ARCH_AMPERE] = 7,
                                           [SIM_ARCH_ADA] = 8,
                                           [SIM_ARCH_HOPPER] = 9,
                                           [SIM_ARCH_BLACKWELL] = 10};
    return numbers[c->model->arch];
}

enum nvml_return nvmlDeviceGetArchitecture(struct nvml_device *device, unsigned int *ret)
{
    return get_number(__func__, device, ret, architecture);
}

enum nvml_return nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *major,
                                                    int *minor)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!major || !minor) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *major = c.model->cuda_major;
    *minor = c.model->cuda_minor;
    return NVML_SUCCESS;
}

/* An idle instance uses a little, seen as 9, 17 and 26 MiB for 1, 2 and 3 slices. */
static uint64_t gi_used_bytes(const struct call *c, unsigned int gi)
{
    uint64_t slices = (uint64_t)c->model->gis[c->state->gis[gi].profile].slices;
    return (slices * 87 + 5) / 10 * MIB + load_memory_bytes(c->gpu, (int)gi);
}

static struct nvml_memory_v2 memory_of(const struct call *c)
{
    struct nvml_memory_v2 out = {0};
    if (c->is_mig) {
        out.total = (uint64_t)call_gi_profile(c)->memory_mib * MIB;
        out.used = gi_used_bytes(c, c->gi);
    } else {
        out.total = (uint64_t)c->model->memory_mib * MIB;
        out.reserved = c->model->reserved_mib > 0 ? (uint64_t)c->model->reserved_mib * MIB : 0;
        out.used = load_memory_bytes(c->gpu, SIM_WHOLE);
        for (unsigned int i = 0; i < SIM_MAX_GI; i++) {
            out.used += c->state->gis[i].is_used ? gi_used_bytes(c, i) : 0;
        }
    }
    out.used = out.used < out.total - out.reserved ? out.used : out.total - out.reserved;
    out.free = out.total - out.reserved - out.used;
    return out;
}

enum nvml_return nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device,
                                            struct nvml_memory_v2 *memory)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    rc = rc == NVML_SUCCESS ? call_aggregate(&c) : rc;
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int version = memory->version;
    if (version != NVML_STRUCT_VERSION(struct nvml_memory_v2, 2)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    *memory = memory_of(&c);
    memory->version = version;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    rc = rc == NVML_SUCCESS ? call_aggregate(&c) : rc;
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    struct nvml_memory_v2 m = memory_of(&c);
    /* The first version counts what the driver reserves as used. */
    *memory = (struct nvml_memory){.total = m.total, .free = m.free, .used = m.used + m.reserved};
    return NVML_SUCCESS;
}

/* A BAR is a power of two, and these boards show all their memory through it. */
static uint64_t bar1_of_gpu(const struct sim_model *model)
{
    if (model->bar1_mib > 0) {
        return (uint64_t)model->bar1_mib * MIB;
    }
    uint64_t mib = 1;
    while (mib < (uint64_t)(model->memory_mib > 0 ? model->memory_mib : 0)) {
        mib *= 2;
    }
    return mib > 1 ? mib * MIB : 0;
}

/* Its share by memory slots, a little less than a whole number of MiB (captures of A100, A30, H100
 * and H200 up to driver 575).  Where driver 580 and later map the memory of Hopper statically, what
 * that leaves is shared (captures of H100 and H200). */
static uint64_t bar1_of_instance(const struct call *c)
{
    enum { STATIC_MAPPING_DRIVER = 580, STATIC_MAPPING_MIB = 512 };
    const struct sim_model *model = c->model;
    uint64_t total = bar1_of_gpu(model), size = c->state->gis[c->gi].size;
    uint64_t slots = (uint64_t)model->slots;
    if (model->arch == SIM_ARCH_HOPPER && model->reserved_mib > 0 &&
        strtol(c->file->driver_version, NULL, 10) >= STATIC_MAPPING_DRIVER) {
        uint64_t usable = (uint64_t)model->memory_mib - (uint64_t)model->reserved_mib + 1;
        return (total / MIB - usable - STATIC_MAPPING_MIB) * size / slots * MIB;
    }
    return total > 0 ? total * size / slots - MIB / 16 : 0;
}

enum nvml_return nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device,
                                             struct nvml_bar1_memory *memory)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint64_t total = c.is_mig ? bar1_of_instance(&c) : bar1_of_gpu(c.model);
    if (total == 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *memory = (struct nvml_bar1_memory){.total = total, .used = c.is_mig ? 0 : MIB};
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}
