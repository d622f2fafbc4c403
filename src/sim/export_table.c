/* nvmlInternalGetExportTable(): the private table that nvidia-smi asks for.
 *
 * Word 0 is the size of the table in bytes, word k the function of slot k.  Every slot answers
 * "not supported" and writes nothing, which is safe for any arguments, except those that NVIDIA has
 * published itself, in the Apache-2.0 mock library of NVIDIA/k8s-test-infra
 * (pkg/gpu/mocknvml/bridge/internal.go):
 *   81          device handle by index (index, out)
 *   213         compute processes of a device (device, count in/out, entries)
 *   214, 215    the same for graphics and MPS
 *   230         host's highest PCIe generation (device, out)
 *   251         persistence mode (device, mode), which newer nvidia-smi sets by this alone
 *   23          what `nvidia-smi topo -m` asks of each GPU before it goes on; that mock says that
 *               SUCCESS without an answer is enough, and anything else the end of it
 * It also resets a GPU at slot 20, which we do not: what nvidia-smi 550 says when that slot fails
 * shows that it asks for something else there, and what it then calls is not published.
 * The table is append-only: numbers are the same in drivers 535, 550 and 580. */
#include "sim/call.h"
#include "sim/load.h"
#include "sim/nvml.h"
#include <string.h>

#define TABLE_WORDS 256

struct private_process {
    unsigned int pid;
    unsigned long long used_memory;
    unsigned int gi, ci;
    unsigned long long protected_memory;
    char name[4096];
};
_Static_assert(sizeof(struct private_process) == 4128, "layout of the published entry");

typedef enum nvml_return slot_function(void);

static enum nvml_return slot_none(void)
{
    return NVML_ERROR_NOT_SUPPORTED;
}

static enum nvml_return slot_handle(unsigned int index, struct nvml_device **device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static enum nvml_return processes(const char *name, struct nvml_device *device, unsigned int *count,
                                  struct private_process *list, bool graphics)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int room = list ? *count : 0, n = 0;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        const struct sim_load *l = &c.gpu->loads[i];
        if (!l->is_used || l->is_graphics != graphics ||
            (c.is_mig && (l->gi != (int)c.gi || l->ci != (int)c.ci))) {
            continue;
        }
        if (n++ < room) {
            struct private_process *p = &list[n - 1];
            memset(p, 0, sizeof(*p));
            p->pid = (unsigned int)l->pid;
            p->used_memory = l->memory_bytes;
            p->gi = l->gi < 0 ? NVML_NO_INSTANCE : (unsigned int)l->gi;
            p->ci = l->ci < 0 ? NVML_NO_INSTANCE : (unsigned int)l->ci;
            memcpy(p->name, l->name, sizeof(l->name));
        }
    }
    *count = n;
    return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

static enum nvml_return slot_compute(struct nvml_device *device, unsigned int *count,
                                     struct private_process *list)
{
    return processes("nvmlDeviceGetComputeRunningProcesses_v3", device, count, list, false);
}

static enum nvml_return slot_graphics(struct nvml_device *device, unsigned int *count,
                                      struct private_process *list)
{
    return processes("nvmlDeviceGetGraphicsRunningProcesses_v3", device, count, list, true);
}

static enum nvml_return slot_mps(struct nvml_device *device, unsigned int *count,
                                 struct private_process *list)
{
    (void)list;
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc == NVML_SUCCESS && !count) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *count = 0;
    }
    return rc;
}

static enum nvml_return slot_host_pcie(struct nvml_device *device, unsigned int *generation)
{
    return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

static enum nvml_return slot_done(void)
{
    return NVML_SUCCESS;
}

static enum nvml_return slot_persistence(struct nvml_device *device, unsigned int mode)
{
    return nvmlDeviceSetPersistenceMode(device, mode);
}

union word {
    size_t size;
    slot_function *function;
};

static union word table[TABLE_WORDS];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    table[0].size = sizeof(table);
    for (int i = 1; i < TABLE_WORDS; i++) {
        table[i].function = slot_none;
    }
    table[23].function = slot_done;
    table[81].function = (slot_function *)(void *)slot_handle;
    table[213].function = (slot_function *)(void *)slot_compute;
    table[214].function = (slot_function *)(void *)slot_graphics;
    table[215].function = (slot_function *)(void *)slot_mps;
    table[230].function = (slot_function *)(void *)slot_host_pcie;
    table[251].function = (slot_function *)(void *)slot_persistence;
}

/* 6c3efec4-8fc9-4e6c-a327-ee696e12f7c4 */
static const unsigned char table_id[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                           0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};

enum nvml_return nvmlInternalGetExportTable(const void **ret, const void *id)
{
    if (!ret || !id) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (memcmp(id, table_id, sizeof(table_id)) != 0) {
        return NVML_ERROR_NOT_FOUND;
    }
    pthread_once(&table_once, table_fill);
    *ret = table;
    return NVML_SUCCESS;
}
