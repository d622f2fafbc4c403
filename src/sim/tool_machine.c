#include "base/buf.h"
#include "base/text.h"
#include "sim/load.h"
#include "sim/nvml_types.h"
#include "sim/slice.h"
#include "sim/tool.h"
#include "sim/trouble.h"
#include "sim/uuid.h"
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* "H100-SXM5-80GB:2" */
static int add_gpu(struct sim_plan *plan, char *text)
{
    struct error err = {0};
    int64_t count = 1;
    char *colon = strrchr(text, ':');
    if (colon) {
        *colon++ = '\0';
        if (text_parse_int(colon, "number of GPUs", 1, SIM_MAX_GPUS, &count, &err) < 0) {
            return tool_fail(TOOL_USAGE, "%s", err.msg);
        }
    }
    if (plan->gpu_count == SIM_MAX_GPUS) {
        return tool_fail(TOOL_USAGE, "a machine has at most %d GPUs", SIM_MAX_GPUS);
    }
    plan->gpus[plan->gpu_count++] = (struct sim_plan_gpu){.model = text, .count = (int)count};
    return TOOL_OK;
}

static int create_option(struct sim_plan *plan, int option, char *value)
{
    struct error err = {0};
    int64_t number = 0;
    switch (option) {
    case 'g':
        return add_gpu(plan, value);
    case 'v':
        plan->driver_version = value;
        return TOOL_OK;
    case 's':
        if (text_parse_int(value, "seed", 0, INT64_MAX, &number, &err) < 0) {
            return tool_fail(TOOL_USAGE, "%s", err.msg);
        }
        plan->seed = (uint64_t)number;
        return TOOL_OK;
    case 'l':
        return latency_parse(value, &plan->latency, &err) < 0 ? tool_fail(TOOL_USAGE, "%s", err.msg)
                                                              : TOOL_OK;
    case 'f':
        for (int i = 0; i < plan->gpu_count; i++) {
            plan->gpus[i].is_flipped = true;
        }
        return TOOL_OK;
    default:
        return TOOL_USAGE;
    }
}

int tool_create(int argc, char **argv)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {"driver-version", required_argument, NULL, 'v'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"latency", required_argument, NULL, 'l'},
                                            {"flipped", no_argument, NULL, 'f'},
                                            {"check", no_argument, NULL, 'c'},
                                            {0}};
    struct sim_plan plan = {.driver_version = "590.48.01", .seed = 1};
    bool is_check = false;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        is_check = is_check || o == 'c';
        int r = o == 'c' ? TOOL_OK : create_option(&plan, o, optarg);
        if (r != TOOL_OK) {
            return r;
        }
    }
    if (optind != argc - !is_check || plan.gpu_count == 0) {
        return tool_fail(TOOL_USAGE, "create needs a directory%s and at least one --gpu MODEL",
                         is_check ? " (but none with --check)" : "");
    }
    struct error err = {0};
    int total = 0;
    if ((is_check ? sim_plan_check(&plan, &total, &err)
                  : sim_machine_create(argv[optind], &plan, &err)) < 0) {
        return tool_fail(TOOL_FAILED, "%s", err.msg);
    }
    return TOOL_OK;
}

static json_t *model_json(const struct sim_model *m)
{
    json_t *profiles = json_array();
    for (int i = 0; i < m->gi_count; i++) {
        const struct sim_gi_profile *p = &m->gis[i];
        json_array_append_new(profiles,
                              json_pack("{s:s, s:i, s:i, s:i, s:i, s:i}", "name", p->name, "id",
                                        p->id, "slices", p->slices, "slots", p->size, "count",
                                        p->count, "memory_mib", p->memory_mib));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "model", m->key, "name", m->name,
                     "confidence", m->confidence, "lacks", m->lacks, "can_simulate",
                     m->lacks[0] == '\0', "profiles", profiles);
}

/* -o, and at most that many words; 0 or an exit code. */
static int read_output(int argc, char **argv, int words, bool *ret_is_json)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
    bool is_json = false;
    for (int o; (o = getopt_long(argc, argv, "o:", options, NULL)) != -1;) {
        if (o == '?') {
            return TOOL_USAGE;
        }
        is_json = strcmp(optarg, "json") == 0;
        if (!is_json && strcmp(optarg, "table") != 0) {
            return tool_fail(TOOL_USAGE, "-o takes table or json, not '%s'", optarg);
        }
    }
    if (argc - optind > words) {
        return tool_fail(TOOL_USAGE, "'%s' is one argument too many", argv[optind + words]);
    }
    *ret_is_json = is_json;
    return TOOL_OK;
}

static void print_json(json_t *root)
{
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

int tool_models(int argc, char **argv)
{
    bool is_json = false;
    int rc = read_output(argc, argv, 0, &is_json);
    if (rc != TOOL_OK) {
        return rc;
    }
    if (is_json) {
        json_t *list = json_array();
        for (unsigned int i = 0; i < sim_model_count; i++) {
            json_array_append_new(list, model_json(&sim_models[i]));
        }
        print_json(list);
        return TOOL_OK;
    }
    printf("%-18s %-11s %s\n", "MODEL", "CONFIDENCE", "PROFILES");
    for (unsigned int i = 0; i < sim_model_count; i++) {
        const struct sim_model *m = &sim_models[i];
        if (m->lacks[0]) {
            continue;
        }
        printf("%-18s %-11s", m->key, m->confidence);
        for (int k = 0; k < m->gi_count; k++) {
            printf(" %s", m->gis[k].name);
        }
        puts(sim_model_has_mig(m) ? "" : " (without MIG: cannot be cut)");
    }
    puts("\nToo little is known of these to simulate them:");
    for (unsigned int i = 0; i < sim_model_count; i++) {
        if (sim_models[i].lacks[0]) {
            printf("%-18s %-11s lacks %s\n", sim_models[i].key, sim_models[i].confidence,
                   sim_models[i].lacks);
        }
    }
    return TOOL_OK;
}

static json_t *slice_json(const struct sim_machine *m, uint32_t gpu, const struct sim_state *state,
                          unsigned int gi)
{
    const struct sim_gi *g = &state->gis[gi];
    const struct sim_gi_profile *p = &m->models[gpu]->gis[g->profile];
    json_t *cis = json_array();
    for (unsigned int ci = 0; ci < SIM_MAX_CI; ci++) {
        if (g->cis[ci].is_used) {
            char uuid[48];
            slice_uuid(m->models[gpu], &m->file->gpus[gpu], state, gi, ci, uuid);
            json_array_append_new(cis, json_pack("{s:i, s:s, s:i, s:i, s:s}", "id", (int)ci,
                                                 "profile", p->cis[g->cis[ci].profile].name,
                                                 "start", (int)g->cis[ci].start, "size",
                                                 (int)g->cis[ci].size, "uuid", uuid));
        }
    }
    return json_pack("{s:i, s:s, s:i, s:i, s:o}", "id", (int)gi, "profile", p->name, "start",
                     (int)g->start, "size", (int)g->size, "compute_instances", cis);
}

static json_t *gpu_json(struct sim_machine *m, uint32_t index)
{
    struct sim_gpu *gpu = &m->file->gpus[index];
    json_t *slices = json_array(), *loads = json_array();
    sim_lock(&gpu->state);
    load_reap(m, index);
    struct sim_state state = *sim_gpu_state(gpu);
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        const struct sim_load *l = &gpu->loads[i];
        if (l->is_used) {
            json_array_append_new(loads,
                                  json_pack("{s:i, s:i, s:i, s:i, s:I}", "pid", l->pid, "gi",
                                            (int)l->gi, "ci", (int)l->ci, "sm_pct", (int)l->sm_pct,
                                            "memory_bytes", (json_int_t)l->memory_bytes));
        }
    }
    bool is_lost = gpu->is_lost;
    sim_unlock(&gpu->state);
    for (unsigned int gi = 0; gi < SIM_MAX_GI; gi++) {
        if (state.gis[gi].is_used) {
            json_array_append_new(slices, slice_json(m, index, &state, gi));
        }
    }
    return json_pack("{s:i, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o}", "index", (int)index, "uuid",
                     gpu->uuid, "model", gpu->model, "name", m->models[index]->name, "mig",
                     state.mig_mode != 0, "mig_pending", state.mig_pending != 0, "lost", is_lost,
                     "gpu_instances", slices, "loads", loads);
}

static void print_gpu(json_t *gpu)
{
    printf("GPU %lld  %s  %s  MIG %s%s%s\n",
           (long long)json_integer_value(json_object_get(gpu, "index")),
           json_string_value(json_object_get(gpu, "model")),
           json_string_value(json_object_get(gpu, "uuid")),
           json_is_true(json_object_get(gpu, "mig")) ? "on" : "off",
           json_is_true(json_object_get(gpu, "mig")) !=
                   json_is_true(json_object_get(gpu, "mig_pending"))
               ? " (a change is pending)"
               : "",
           json_is_true(json_object_get(gpu, "lost")) ? "  LOST" : "");
    size_t i = 0, k = 0;
    json_t *gi = NULL, *ci = NULL;
    json_array_foreach(json_object_get(gpu, "gpu_instances"), i, gi)
    {
        printf("  GI %-2lld %-14s slots %lld:%lld\n",
               (long long)json_integer_value(json_object_get(gi, "id")),
               json_string_value(json_object_get(gi, "profile")),
               (long long)json_integer_value(json_object_get(gi, "start")),
               (long long)json_integer_value(json_object_get(gi, "size")));
        json_array_foreach(json_object_get(gi, "compute_instances"), k, ci)
        {
            printf("    CI %lld %-14s %s\n",
                   (long long)json_integer_value(json_object_get(ci, "id")),
                   json_string_value(json_object_get(ci, "profile")),
                   json_string_value(json_object_get(ci, "uuid")));
        }
    }
}

int tool_show(int argc, char **argv)
{
    bool is_json = false;
    int rc = read_output(argc, argv, 1, &is_json);
    if (rc != TOOL_OK) {
        return rc;
    }
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argv[optind]);
    if (!m) {
        return TOOL_FAILED;
    }
    char latency[256];
    latency_format(&m->file->latency, latency, sizeof(latency));
    json_t *gpus = json_array();
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        json_array_append_new(gpus, gpu_json(m, i));
    }
    json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "directory", m->dir,
                             "driver_version", m->file->driver_version, "boot_id", m->file->boot_id,
                             "seed", (json_int_t)m->file->seed, "latency", latency, "gpus", gpus);
    if (is_json) {
        print_json(root);
        return TOOL_OK;
    }
    printf("driver %s  latency %s\n", m->file->driver_version, latency);
    size_t i = 0;
    json_t *gpu = NULL;
    json_array_foreach(gpus, i, gpu)
    {
        print_gpu(gpu);
    }
    json_decref(root);
    return TOOL_OK;
}

/* The library lies beside the tool (build/src/sim/) or, installed, where the package puts it. */
char *tool_library_dir(void)
{
    char self[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = n > 0 ? strrchr(self, '/') : NULL;
    if (slash) {
        *slash = '\0';
    }
    CLEANUP(freep) char *beside = xasprintf("%s/src/sim", self);
    CLEANUP(freep) char *library = xasprintf("%s/libnvidia-ml.so.1", beside);
    return access(library, F_OK) == 0 ? TAKE_PTR(beside) : xstrdup(SIM_LIBRARY_DIR);
}

int tool_env(int argc, char **argv)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m) {
        return TOOL_FAILED;
    }
    CLEANUP(freep) char *dir = realpath(m->dir, NULL);
    CLEANUP(freep) char *lib = tool_library_dir();
    printf("export TANGRAM_SIM='%s'\n"
           "export LD_LIBRARY_PATH='%s'\"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n",
           dir ? dir : m->dir, lib);
    return TOOL_OK;
}

int tool_reboot(int argc, char **argv)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    struct error err = {0};
    if (!m) {
        return TOOL_FAILED;
    }
    return sim_machine_reboot(m, &err) < 0 ? tool_fail(TOOL_FAILED, "%s", err.msg) : TOOL_OK;
}

int tool_reset(int argc, char **argv)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m || argc != 3) {
        return m ? tool_fail(TOOL_USAGE, "reset needs DIR and a GPU") : TOOL_FAILED;
    }
    struct error err = {0};
    int gpu = tool_gpu(m, argv[2]);
    if (gpu < 0) {
        return TOOL_FAILED;
    }
    return sim_machine_reset(m, (uint32_t)gpu, &err) < 0 ? tool_fail(TOOL_FAILED, "%s", err.msg)
                                                         : TOOL_OK;
}
