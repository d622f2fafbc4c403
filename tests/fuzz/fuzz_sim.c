/* The whole ABI with arguments from the input.  Handles are right, stale or invented; pointers are
 * NULL or lead to memory that is large enough, as the ABI demands; everything else is anything.
 * Nothing may crash, and after every input the machine must be whole. */
#include "fuzz.h"
#include "sim/machine.h"
#include "sim/nvml.h"
#include "sim/slice.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum nvml_return any_call(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

static const struct {
    const char *name, *letters;
} calls[] = {
#define CALL(name, letters) {#name, letters},
#include "sim_calls.inc"
#undef CALL
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* Room for the largest thing that any call writes: 64 entries of the private process list. */
#define ROOM (64 * 4128)
#define ARGS 6

struct input {
    const uint8_t *data;
    size_t left;
    uintptr_t pool[16]; /* handles that calls have returned */
    unsigned int pooled;
    unsigned char memory[ARGS][ROOM] __attribute__((aligned(16)));
};

static unsigned int byte(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static uintptr_t handle(struct input *in)
{
    unsigned int b = byte(in);
    if (b < 8) {
        return 0;
    }
    if (b < 24) {
        return (uintptr_t)(0xD0 + b % 8) << 56 | (uintptr_t)byte(in) << 48 |
               (uintptr_t)byte(in) << 40 | (uintptr_t)byte(in) << 32 | byte(in);
    }
    if (b < 160 || in->pooled == 0) {
        struct nvml_device *device = NULL;
        nvmlDeviceGetHandleByIndex_v2(b % 3, &device);
        return (uintptr_t)device;
    }
    return in->pool[b % in->pooled % 16];
}

/* Version words that some struct has; the first four bytes of what a pointer leads to. */
static unsigned int version(struct input *in)
{
    static const unsigned int known[] = {
        0x02000098,
        0x02000088,
        0x02000028,
        NVML_STRUCT_VERSION(struct nvml_gi_profile_v3, 3),
        NVML_STRUCT_VERSION(struct nvml_ci_profile_v3, 3),
        NVML_STRUCT_VERSION(struct nvml_pci_info_ext, 1),
        NVML_STRUCT_VERSION(struct nvml_fabric_info_v2, 2),
        NVML_STRUCT_VERSION(struct nvml_uuid, 1),
        1,
        2,
    };
    unsigned int b = byte(in);
    if (b < 120) {
        return known[b % (sizeof(known) / sizeof(known[0]))];
    }
    return b < 220 ? b % 13 : b << 24 | byte(in); /* also: a placement's start */
}

static uintptr_t pointer(struct input *in, int arg, char letter)
{
    unsigned char *memory = in->memory[arg];
    unsigned int b = byte(in);
    if (b < 16) {
        return 0;
    }
    unsigned int word = letter == 'n' ? b % 65 : version(in);
    memcpy(memory, &word, sizeof(word));
    if (letter == 't') {
        static const char *const texts[] = {"", "GPU-", "MIG-GPU-x/1/0", "0000:07:00.0", "7:0"};
        snprintf((char *)memory, 64, "%s", texts[b % 5]);
    } else if (letter == 'p') {
        unsigned int second = byte(in);
        memcpy(memory + 4, &second, sizeof(second));
    }
    return (uintptr_t)memory;
}

static uintptr_t gpm_metrics(struct input *in, int arg)
{
    struct nvml_gpm_metrics *m = (void *)in->memory[arg];
    m->version = byte(in) % 3;
    m->count = byte(in);
    m->sample1 = (void *)handle(in);
    m->sample2 = (void *)handle(in);
    for (unsigned int i = 0; i < m->count; i++) {
        m->metrics[i].metric_id = i * 3;
    }
    return (uintptr_t)m;
}

static uintptr_t process_list(struct input *in, int arg)
{
    struct nvml_process_detail_list *list = (void *)in->memory[arg];
    list->version = byte(in) % 4 ? NVML_STRUCT_VERSION(struct nvml_process_detail_list, 1) : 1;
    list->mode = byte(in) % 5;
    list->count = byte(in) % 65;
    list->processes = byte(in) % 4 ? (void *)(in->memory[arg] + 64) : NULL;
    return (uintptr_t)list;
}

static uintptr_t usage_list(struct input *in, int arg)
{
    struct nvml_process_usage_list *list = (void *)in->memory[arg];
    list->version = byte(in) % 4 ? NVML_STRUCT_VERSION(struct nvml_process_usage_list, 1) : 1;
    list->count = byte(in) % 65;
    list->last_seen_us = byte(in) % 2 ? 0 : UINT64_MAX;
    list->list = byte(in) % 4 ? (void *)(in->memory[arg] + 64) : NULL;
    return (uintptr_t)list;
}

static uintptr_t argument(struct input *in, int arg, char letter)
{
    switch (letter) {
    case 'd':
    case 'g':
    case 'c':
    case 'e':
    case 's':
        return handle(in);
    case 'm':
        return gpm_metrics(in, arg);
    case 'L':
        return process_list(in, arg);
    case 'U':
        return usage_list(in, arg);
    case 'z':
        return 0; /* nobody has time to wait */
    case 'l':
        return byte(in);
    case 'u': {
        unsigned int b = byte(in);
        return b < 240 ? b % 24 : (uintptr_t)b << 24 | byte(in);
    }
    default:
        return pointer(in, arg, letter);
    }
}

static void check(const struct sim_machine *m)
{
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        const struct sim_gpu *gpu = &m->file->gpus[i];
        const struct sim_state *state = sim_gpu_state(gpu);
        uint32_t slots = 0;
        for (unsigned int id = 0; id < SIM_MAX_GI; id++) {
            const struct sim_gi *gi = &state->gis[id];
            uint32_t window = gi->is_used ? ((1U << gi->size) - 1U) << gi->start : 0;
            if ((slots & window) || (slice_ci_count(gi) > 0 && !gi->is_used) ||
                (gi->is_used &&
                 slice_gi_id(m->models[i], gpu->is_flipped, gi->start, gi->size) != id)) {
                abort();
            }
            slots |= window;
        }
        if (slots != 0 && !state->mig_mode) {
            abort();
        }
    }
}

static struct sim_machine *machine;

static char dir[] = "/tmp/tangram-fuzz-XXXXXX";
static any_call *functions[CALLS];

static void machine_remove(void)
{
    static const char *const files[] = {"machine", "loads", "boot_id"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void machine_make(void)
{
    struct error err;
    struct sim_plan plan = {.gpus = {{.model = "H100-SXM5-80GB", .count = 1},
                                     {.model = "A30", .count = 1},
                                     {.model = "RTX-PRO-6000-BSE", .count = 1}},
                            .gpu_count = 3,
                            .driver_version = "590.48.01"};
    if (!mkdtemp(dir) || sim_machine_create(dir, &plan, &err) < 0 ||
        sim_machine_open(dir, &machine, &err) < 0 || setenv("TANGRAM_SIM", dir, 1) != 0 ||
        nvmlInit_v2() != NVML_SUCCESS) {
        abort();
    }
    atexit(machine_remove);
    for (size_t i = 0; i < CALLS; i++) {
        *(void **)&functions[i] = dlsym(RTLD_DEFAULT, calls[i].name);
        if (!functions[i]) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input in;
    if (!machine) {
        machine_make();
    }
    in.data = data;
    in.left = size;
    in.pooled = 0;
    (void)sim_machine_reboot(machine, NULL);
    enum nvml_return activation;
    for (unsigned int i = 0; i < 3 && size > 0 && (data[0] >> i & 1); i++) {
        struct nvml_device *gpu = NULL;
        nvmlDeviceGetHandleByIndex_v2(i, &gpu);
        nvmlDeviceSetMigMode(gpu, 1, &activation);
    }
    while (in.left > 0) {
        unsigned int n = (byte(&in) << 8 | byte(&in)) % CALLS;
        uintptr_t a[ARGS] = {0};
        for (int i = 0; calls[n].letters[i] && i < ARGS; i++) {
            a[i] = argument(&in, i, calls[n].letters[i]);
        }
        enum nvml_return rc = functions[n](a[0], a[1], a[2], a[3], a[4], a[5]);
        for (int i = 0; rc == NVML_SUCCESS && calls[n].letters[i]; i++) {
            uintptr_t out = 0;
            if (calls[n].letters[i] == 'p' && a[i]) {
                memcpy(&out, (void *)a[i], sizeof(out));
            }
            if (out >> 56 >= 0xD1 && out >> 56 <= 0xD5) {
                in.pool[in.pooled++ % 16] = out;
            }
        }
    }
    check(machine);
    return 0;
}
