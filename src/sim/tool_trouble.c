#include "base/clock.h"
#include "base/text.h"
#include "sim/load.h"
#include "sim/nvml_types.h"
#include "sim/slice.h"
#include "sim/tool.h"
#include "sim/trouble.h"
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>

static int parse_number(const char *what, const char *text, int64_t lo, int64_t hi, int64_t *ret)
{
    struct error err = {0};
    return text_parse_int(text, what, lo, hi, ret, &err) < 0 ? tool_fail(TOOL_USAGE, "%s", err.msg)
                                                             : TOOL_OK;
}

static int parse_duration(const char *text, int64_t *ret_ms)
{
    struct error err = {0};
    if (strcmp(text, "forever") == 0) {
        *ret_ms = -1;
        return TOOL_OK;
    }
    return text_parse_duration_ms(text, ret_ms, &err) < 0 ? tool_fail(TOOL_USAGE, "%s", err.msg)
                                                          : TOOL_OK;
}

struct load_wish {
    const char *dir, *device;
    struct sim_load load;
    int64_t for_ms;
};

static int load_option(struct load_wish *wish, int option, const char *value)
{
    struct error err = {0};
    int64_t number = 0;
    int r = TOOL_OK;
    switch (option) {
    case 'm':
        wish->dir = value;
        return TOOL_OK;
    case 'd':
        wish->device = value;
        return TOOL_OK;
    case 's':
        r = parse_number("--sm", value, 0, 100, &number);
        wish->load.sm_pct = (uint32_t)number;
        return r;
    case 'b':
        return text_parse_size(value, &wish->load.memory_bytes, &err) < 0
                   ? tool_fail(TOOL_USAGE, "%s", err.msg)
                   : TOOL_OK;
    case 'f':
        return parse_duration(value, &wish->for_ms);
    case 'g':
        wish->load.is_graphics = true;
        return TOOL_OK;
    default:
        return TOOL_USAGE;
    }
}

/* Which GPU, and which of its instances, has this UUID?  With gpu->state held. */
static bool is_target(const struct sim_machine *m, uint32_t gpu, const char *uuid,
                      struct sim_load *load)
{
    const struct sim_gpu *g = &m->file->gpus[gpu];
    const struct sim_state *state = sim_gpu_state(g);
    load->gi = load->ci = SIM_WHOLE;
    if (strcasecmp(g->uuid, uuid) == 0) {
        return true;
    }
    unsigned int gi = 0, ci = 0;
    for (unsigned int i = 0; slice_by_index(state, i, &gi, &ci); i++) {
        char form[48];
        slice_uuid(m->models[gpu], g, state, gi, ci, form);
        CLEANUP(freep) char *old = xasprintf("MIG-%s/%u/%u", g->uuid, gi, ci);
        if (strcasecmp(form, uuid) == 0 || strcasecmp(old, uuid) == 0) {
            load->gi = (int8_t)gi;
            load->ci = (int8_t)ci;
            return true;
        }
    }
    return false;
}

static uint64_t room_bytes(const struct sim_machine *m, uint32_t gpu, int gi)
{
    const struct sim_gpu *g = &m->file->gpus[gpu];
    int mib = gi == SIM_WHOLE ? m->models[gpu]->memory_mib
                              : m->models[gpu]->gis[sim_gpu_state(g)->gis[gi].profile].memory_mib;
    return ((uint64_t)mib << 20) - load_memory_bytes(g, gi);
}

/* As a CUDA program would: needs a visible device, memory that is left, and no MIG in between. */
static int load_start(struct sim_machine *m, uint32_t gpu, struct load_wish *wish, int *ret_index)
{
    struct error err = {0};
    const struct sim_gpu *g = &m->file->gpus[gpu];
    if (g->is_lost) {
        return tool_fail(TOOL_FAILED, "the GPU is lost");
    }
    if (wish->load.gi == SIM_WHOLE && sim_gpu_state(g)->mig_mode) {
        return tool_fail(TOOL_FAILED,
                         "MIG is on: a program cannot use the whole of %s; name a "
                         "MIG device",
                         g->uuid);
    }
    if (wish->load.memory_bytes > room_bytes(m, gpu, wish->load.gi)) {
        return tool_fail(TOOL_FAILED, "out of memory: %llu MiB are left",
                         (unsigned long long)(room_bytes(m, gpu, wish->load.gi) >> 20));
    }
    text_copy(wish->load.name, sizeof(wish->load.name), "tangram-sim load");
    if (load_add(m, gpu, &wish->load, ret_index, &err) < 0) {
        return tool_fail(TOOL_FAILED, "%s", err.msg);
    }
    return TOOL_OK;
}

/* Until the time is over, a signal ends it, or the machine restarts (from the boot that the load
 * began in). */
static void load_wait(const struct sim_machine *m, uint32_t boots, int64_t for_ms)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CLEANUP(closep) int fd = signalfd(-1, &set, SFD_CLOEXEC);
    int64_t end = for_ms < 0 ? INT64_MAX : clock_mono_ms() + for_ms;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int64_t now; (now = clock_mono_ms()) < end && m->file->boots == boots;) {
        int64_t wait = end - now < 100 ? end - now : 100;
        if (poll(&p, 1, (int)wait) > 0) {
            return;
        }
    }
}

int tool_load(int argc, char **argv)
{
    static const struct option options[] = {{"machine", required_argument, NULL, 'm'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"sm", required_argument, NULL, 's'},
                                            {"memory", required_argument, NULL, 'b'},
                                            {"for", required_argument, NULL, 'f'},
                                            {"graphics", no_argument, NULL, 'g'},
                                            {0}};
    struct load_wish wish = {.for_ms = -1, .load = {.sm_pct = 100, .memory_bytes = 512 << 20}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        int r = load_option(&wish, o, optarg);
        if (r != TOOL_OK) {
            return r;
        }
    }
    if (!wish.device) {
        return tool_fail(TOOL_USAGE, "load needs --device UUID");
    }
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(wish.dir);
    if (!m) {
        return TOOL_FAILED;
    }
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        struct sim_gpu *gpu = &m->file->gpus[i];
        int index = 0;
        sim_lock(&gpu->state);
        uint32_t boots = m->file->boots;
        load_reap(m, i);
        bool is_found = is_target(m, i, wish.device, &wish.load);
        int r = is_found ? load_start(m, i, &wish, &index) : TOOL_OK;
        sim_unlock(&gpu->state);
        if (!is_found) {
            continue;
        }
        if (r == TOOL_OK) {
            puts("running"); /* whoever started it may go on now */
            fflush(stdout);
            load_wait(m, boots, wish.for_ms);
            sim_lock(&gpu->state);
            if (gpu->loads[index].is_used && m->own_load >= 0) {
                load_remove(m, i, index);
            }
            sim_unlock(&gpu->state);
        }
        return r;
    }
    return tool_fail(TOOL_FAILED, "no device %s in %s", wish.device, m->dir);
}

static const char *const return_names[] = {
    [NVML_SUCCESS] = "SUCCESS",
    [NVML_ERROR_UNINITIALIZED] = "UNINITIALIZED",
    [NVML_ERROR_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [NVML_ERROR_NOT_SUPPORTED] = "NOT_SUPPORTED",
    [NVML_ERROR_NO_PERMISSION] = "NO_PERMISSION",
    [NVML_ERROR_ALREADY_INITIALIZED] = "ALREADY_INITIALIZED",
    [NVML_ERROR_NOT_FOUND] = "NOT_FOUND",
    [NVML_ERROR_INSUFFICIENT_SIZE] = "INSUFFICIENT_SIZE",
    [NVML_ERROR_INSUFFICIENT_POWER] = "INSUFFICIENT_POWER",
    [NVML_ERROR_DRIVER_NOT_LOADED] = "DRIVER_NOT_LOADED",
    [NVML_ERROR_TIMEOUT] = "TIMEOUT",
    [NVML_ERROR_IRQ_ISSUE] = "IRQ_ISSUE",
    [NVML_ERROR_LIBRARY_NOT_FOUND] = "LIBRARY_NOT_FOUND",
    [NVML_ERROR_FUNCTION_NOT_FOUND] = "FUNCTION_NOT_FOUND",
    [NVML_ERROR_CORRUPTED_INFOROM] = "CORRUPTED_INFOROM",
    [NVML_ERROR_GPU_IS_LOST] = "GPU_IS_LOST",
    [NVML_ERROR_RESET_REQUIRED] = "RESET_REQUIRED",
    [NVML_ERROR_OPERATING_SYSTEM] = "OPERATING_SYSTEM",
    [NVML_ERROR_LIB_RM_VERSION_MISMATCH] = "LIB_RM_VERSION_MISMATCH",
    [NVML_ERROR_IN_USE] = "IN_USE",
    [NVML_ERROR_MEMORY] = "MEMORY",
    [NVML_ERROR_NO_DATA] = "NO_DATA",
    [NVML_ERROR_VGPU_ECC_NOT_SUPPORTED] = "VGPU_ECC_NOT_SUPPORTED",
    [NVML_ERROR_INSUFFICIENT_RESOURCES] = "INSUFFICIENT_RESOURCES",
    [NVML_ERROR_FREQ_NOT_SUPPORTED] = "FREQ_NOT_SUPPORTED",
    [NVML_ERROR_ARGUMENT_VERSION_MISMATCH] = "ARGUMENT_VERSION_MISMATCH",
    [NVML_ERROR_DEPRECATED] = "DEPRECATED",
    [NVML_ERROR_NOT_READY] = "NOT_READY",
    [NVML_ERROR_GPU_NOT_FOUND] = "GPU_NOT_FOUND",
    [NVML_ERROR_INVALID_STATE] = "INVALID_STATE",
};

/* A number, or NVML's name of it, with or without what all of them begin with. */
static int parse_return(const char *value, int32_t *ret)
{
    const char *name = value;
    struct error err = {0};
    int64_t number = 0;

    name += strncasecmp(name, "NVML_", 5) == 0 ? 5 : 0;
    name += strncasecmp(name, "ERROR_", 6) == 0 ? 6 : 0;
    if (strcasecmp(name, "UNKNOWN") == 0) {
        *ret = NVML_ERROR_UNKNOWN;
        return TOOL_OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(return_names); i++) {
        if (strcasecmp(name, return_names[i]) == 0) {
            *ret = (int32_t)i;
            return TOOL_OK;
        }
    }
    if (text_parse_int(value, "--return", 0, 999, &number, &err) < 0) {
        return tool_fail(TOOL_USAGE, "--return takes NVML's name of an error, as in IN_USE, or a "
                                     "number from 0 to 999, not '%.40s'",
                         value);
    }
    *ret = (int32_t)number;
    return TOOL_OK;
}

static int fault_option(const struct sim_machine *m, struct sim_fault *fault, int option,
                        const char *value)
{
    int64_t number = 0;
    int r = TOOL_OK;
    switch (option) {
    case 'c':
        snprintf(fault->call, sizeof(fault->call), "%s%s",
                 strncmp(value, "nvml", 4) == 0 || value[0] == '*' ? "" : "nvml", value);
        return TOOL_OK;
    case 'r':
        fault->has_return = true;
        return parse_return(value, &fault->code);
    case 'a':
        r = parse_number("--after", value, 0, 1000000000, &number);
        fault->after = (uint32_t)number;
        return r;
    case 't':
        r = parse_number("--times", value, 0, 1000000000, &number);
        fault->times = (uint32_t)number;
        return r;
    case 'h':
        return parse_duration(value, &fault->hang_ms);
    case 'g':
        fault->gpu = tool_gpu(m, value);
        return fault->gpu < 0 ? TOOL_FAILED : TOOL_OK;
    default:
        return TOOL_USAGE;
    }
}

int tool_fault(int argc, char **argv)
{
    static const struct option options[] = {{"call", required_argument, NULL, 'c'},
                                            {"return", required_argument, NULL, 'r'},
                                            {"after", required_argument, NULL, 'a'},
                                            {"times", required_argument, NULL, 't'},
                                            {"hang", required_argument, NULL, 'h'},
                                            {"gpu", required_argument, NULL, 'g'},
                                            {0}};
    /* DIR comes first, as in all commands; options may need the machine to name a GPU. */
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m) {
        return TOOL_FAILED;
    }
    struct sim_fault fault = {.gpu = -1};
    for (int o; (o = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;) {
        int r = fault_option(m, &fault, o, optarg);
        if (r != TOOL_OK) {
            return r;
        }
    }
    if (!fault.call[0] || (!fault.has_return && fault.hang_ms == 0)) {
        return tool_fail(TOOL_USAGE, "fault needs --call NAME and --return CODE or --hang D");
    }
    struct error err = {0};
    return fault_add(m->file, &fault, &err) < 0 ? tool_fail(TOOL_FAILED, "%s", err.msg) : TOOL_OK;
}

int tool_xid(int argc, char **argv)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {"code", required_argument, NULL, 'c'},
                                            {"gi", required_argument, NULL, 'i'},
                                            {"ci", required_argument, NULL, 'k'},
                                            {0}};
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m) {
        return TOOL_FAILED;
    }
    int gpu = 0, r = TOOL_OK;
    int64_t code = -1, gi = NVML_NO_INSTANCE, ci = NVML_NO_INSTANCE;
    for (int o; r == TOOL_OK && (o = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;) {
        if (o == 'g') {
            gpu = tool_gpu(m, optarg);
            r = gpu < 0 ? TOOL_FAILED : TOOL_OK;
        } else if (o == 'c' || o == 'i' || o == 'k') {
            r = parse_number("--code, --gi or --ci", optarg, 0, 100000,
                             o == 'c'   ? &code
                             : o == 'i' ? &gi
                                        : &ci);
        } else {
            r = TOOL_USAGE;
        }
    }
    if (r != TOOL_OK || code < 0) {
        return r != TOOL_OK ? r : tool_fail(TOOL_USAGE, "xid needs --code N");
    }
    struct sim_event event = {
        .type = NVML_EVENT_XID, .data = (uint64_t)code, .gi = (uint32_t)gi, .ci = (uint32_t)ci};
    sim_lock(&m->file->gpus[gpu].state);
    sim_event_post(m->file, &m->file->gpus[gpu], &event);
    sim_unlock(&m->file->gpus[gpu].state);
    return TOOL_OK;
}

int tool_lose(int argc, char **argv)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m || argc != 3) {
        return m ? tool_fail(TOOL_USAGE, "lose needs DIR and a GPU") : TOOL_FAILED;
    }
    int gpu = tool_gpu(m, argv[2]);
    if (gpu < 0) {
        return TOOL_FAILED;
    }
    /* Xid 79: the GPU has fallen off the bus. */
    struct sim_event event = {NVML_EVENT_XID, 79, NVML_NO_INSTANCE, NVML_NO_INSTANCE};
    sim_lock(&m->file->gpus[gpu].state);
    m->file->gpus[gpu].is_lost = true;
    sim_event_post(m->file, &m->file->gpus[gpu], &event);
    sim_unlock(&m->file->gpus[gpu].state);
    return TOOL_OK;
}

int tool_clear(int argc, char **argv)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m) {
        return TOOL_FAILED;
    }
    fault_clear(m->file);
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        sim_lock(&m->file->gpus[i].state);
        m->file->gpus[i].is_lost = false;
        sim_unlock(&m->file->gpus[i].state);
    }
    return TOOL_OK;
}
