/* tangram-replay pack: the least number of GPUs for a set of slices, and what policies that place
 * one after the other would take for random ones. */
#include "base/cleanup.h"
#include "base/text.h"
#include "plan/plan.h"
#include "replay/arrivals.h"
#include "replay/command.h"
#include "replay/fleet.h"
#include "replay/options.h"
#include "replay/pack.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: tangram-replay pack --model MODEL --want PROFILE:N[,PROFILE:N...]\n"
    "           [--method auto|search] [--node-limit N] [-o table|csv|json]\n"
    "       tangram-replay pack [--model MODEL] --random N [--mix NAME|all] [--runs N]\n"
    "           [-o table|csv|json]\n"
    "PROFILE as everywhere: 2g.20gb, 2g, memory=12GiB.  \"search\" does without the closed form.\n"
    "--random draws sets of N slices and prints the mean number of GPUs: the least possible, by "
    "area,\n"
    "and when policies place one after the other, as drawn (NAME) and largest first (NAME, "
    "sorted).";

static const char *const method_words[] = {"auto", "search", NULL};

struct options {
    struct replay_fleet fleet;
    const char *want, *mix;
    int method, format;
    int64_t node_limit, random, runs;
    int rows; /* printed so far */
};

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    const struct replay_option table[] = {
        {"model", REPLAY_OPTION_FLEET, &o->fleet, 0, 0, NULL},
        {"want", REPLAY_OPTION_TEXT, &o->want, 0, 0, NULL},
        {"method", REPLAY_OPTION_WORD, &o->method, 0, 0, method_words},
        {"node-limit", REPLAY_OPTION_INT, &o->node_limit, 1, 1000000, NULL},
        {"random", REPLAY_OPTION_INT, &o->random, 1, 100000, NULL},
        {"mix", REPLAY_OPTION_TEXT, &o->mix, 0, 0, NULL},
        {"runs", REPLAY_OPTION_INT, &o->runs, 1, 100000, NULL},
        {"output", REPLAY_OPTION_WORD, &o->format, 0, 0, replay_formats},
    };
    int r = replay_options_read(argc, argv, table, ARRAY_SIZE(table), usage, err);

    if (r == 0 && o->random && !o->fleet.count) {
        r = replay_fleet_parse("H100-SXM5-80GB", &o->fleet, err);
    }
    if (r == 0 && !o->want == !o->random) {
        r = err_set(err, EINVAL, "pack needs --want or --random (tangram-replay pack --help)");
    }
    if (r == 0 && o->fleet.count != 1) {
        r = err_set(err, EINVAL, "pack needs --model, and just one (tangram-replay pack --help)");
    }
    return r;
}

/* "2g:3,memory=12GiB,compute=2:1": a comma separates wants only after a count. */
static int parse_wants(const char *text, const struct mig_geometry *g,
                       uint32_t counts[MIG_PROFILES_MAX], struct error *err)
{
    CLEANUP(freep) char *copy = xstrdup(text);
    char *at = copy;

    while (*at) {
        struct mig_want want;
        int64_t n = 0;
        int p = -1, c = -1, r;
        char *colon = strchr(at, ':'), *end;
        if (!colon) {
            return err_set(err, EINVAL, "--want: write PROFILE:N, not \"%.40s\"", at);
        }
        *colon = '\0';
        end = strchrnul(colon + 1, ',');
        bool is_last = !*end;
        *end = '\0';
        r = mig_want_parse(at, &want, err);
        r = r < 0 ? r : text_parse_int(colon + 1, "count", 0, 10000000, &n, err);
        r = r < 0 ? r : mig_want_resolve(&want, g, &p, &c, err);
        if (r < 0) {
            return r;
        }
        counts[p] += (uint32_t)n;
        at = is_last ? end : end + 1;
    }
    return 0;
}

static void print(const struct options *o, const struct replay_pack *p)
{
    const char *method = p->is_closed_form ? "closed form" : "search";
    bool is_proven = p->gpus == p->least;

    if (o->format == REPLAY_JSON) {
        printf("{\"model\":\"%s\",\"gpus\":%u,\"proven\":%s,\"at_least\":%u,\"area_bound\":%u,"
               "\"method\":\"%s\",\"nodes\":%u}\n",
               o->fleet.groups[0].model, p->gpus, is_proven ? "true" : "false", p->least,
               p->area_bound, method, p->nodes);
        return;
    }
    if (o->format == REPLAY_CSV) {
        printf("model,gpus,proven,at_least,area_bound,method,nodes\n%s,%u,%s,%u,%u,%s,%u\n",
               o->fleet.groups[0].model, p->gpus, is_proven ? "true" : "false", p->least,
               p->area_bound, method, p->nodes);
        return;
    }
    printf("GPUs needed  %u %s\n", p->gpus,
           is_proven ? "(proven: no fewer can do)" : "(best found)");
    if (!is_proven) {
        printf("At least     %u\n", p->least);
    }
    printf("By area      %u\n", p->area_bound);
    printf("Method       %s, %u linear programs\n", method, p->nodes);
}

static int pack_wanted(const struct options *o, struct error *err)
{
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    struct replay_pack result = {0};
    int r = parse_wants(o->want, &o->fleet.groups[0].geometry, counts, err);

    if (r == 0) {
        r = replay_pack_solve(&o->fleet.groups[0].geometry, counts, o->method == 0,
                              (uint32_t)o->node_limit, &result, err);
    }
    if (r == 0) {
        print(o, &result);
    }
    return r;
}

/* --- random sets --- */

static const enum plan_policy compared[] = {PLAN_FIRST_FIT, PLAN_BEST_FIT, PLAN_MFI, PLAN_FGD,
                                            PLAN_REACH};
#define COLUMNS (2 + 2 * ARRAY_SIZE(compared)) /* least, area, policies as drawn and sorted */

/* GPUs that a policy takes for these profiles, one after the other. */
static uint32_t place_all(const struct options *o, enum plan_policy policy, const uint8_t *profiles)
{
    struct plan_settings settings;
    uint32_t used = 0;
    int class_id = 0;

    plan_settings_default(&settings);
    settings.policy = policy;
    CLEANUP(plan_freep) struct plan *plan = plan_new(&settings);
    plan_add_class(plan, &o->fleet.groups[0].geometry, &class_id, NULL);
    for (uint32_t i = 0; i < o->random; i++) {
        plan_add_gpu(plan, i, class_id, NULL);
    }
    for (uint32_t i = 0; i < o->random; i++) {
        struct plan_ask ask;
        struct plan_spot spot;
        plan_ask_init(&ask);
        ask.profile[class_id] = (int8_t)profiles[i];
        plan_learn(plan, &ask);
        if (plan_place(plan, &ask, &spot) == 0) {
            plan_take(plan, &spot, false, 0);
        }
    }
    for (uint32_t i = 0; i < o->random; i++) {
        struct plan_gpu gpu;
        plan_get_gpu(plan, i, &gpu);
        used += gpu.busy.mask != 0;
    }
    return used;
}

/* Largest first, else in the order drawn. */
static void sort_by_size(const struct options *o, const uint8_t *drawn, uint8_t *ret)
{
    const struct mig_geometry *g = &o->fleet.groups[0].geometry;

    for (int size = MIG_SLOTS_MAX; size > 0; size--) {
        for (int64_t i = 0; i < o->random; i++) {
            if (g->profiles[drawn[i]].size == size) {
                *ret++ = drawn[i];
            }
        }
    }
}

static int pack_run(const struct options *o, struct replay_arrivals *a, int run,
                    double sums[COLUMNS], struct error *err)
{
    const struct mig_geometry *g = &o->fleet.groups[0].geometry;
    CLEANUP(freep) uint8_t *drawn = xcalloc((size_t)o->random, 1);
    CLEANUP(freep) uint8_t *sorted = xcalloc((size_t)o->random, 1);
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    struct replay_pack result = {0};
    int r;

    replay_arrivals_draw(a, run);
    for (int64_t i = 0; i < o->random; i++) {
        drawn[i] = a->list[i].profile;
        counts[drawn[i]]++;
    }
    sort_by_size(o, drawn, sorted);
    r = replay_pack_solve(g, counts, true, (uint32_t)o->node_limit, &result, err);
    if (r == 0 && result.gpus != result.least) {
        r = err_set(err, EAGAIN, "no proof within --node-limit");
    }
    sums[0] += result.gpus;
    sums[1] += result.area_bound;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(compared); i++) {
        sums[2 + 2 * i] += place_all(o, compared[i], drawn);
        sums[3 + 2 * i] += place_all(o, compared[i], sorted);
    }
    return r;
}

static void print_csv_or_json(const struct options *o, const char *mix, const double *mean)
{
    bool is_json = o->format == REPLAY_JSON;

    if (is_json) {
        printf("%s\n {\"mix\":\"%s\",\"least\":%.4f,\"area\":%.4f", o->rows ? "," : "[", mix,
               mean[0], mean[1]);
    } else {
        printf("%s,%.4f,%.4f", mix, mean[0], mean[1]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(compared); i++) {
        const char *name = plan_policy_name(compared[i]);
        if (is_json) {
            printf(",\"%s\":%.4f,\"%s, sorted\":%.4f", name, mean[2 + 2 * i], name,
                   mean[3 + 2 * i]);
        } else {
            printf(",%.4f,%.4f", mean[2 + 2 * i], mean[3 + 2 * i]);
        }
    }
    printf(is_json ? "}" : "\n");
}

static void print_head(const struct options *o)
{
    if (o->format == REPLAY_JSON) {
        return;
    }
    printf("%s", o->format == REPLAY_CSV ? "mix,least,area" : "MIX             LEAST      AREA");
    for (size_t i = 0; i < ARRAY_SIZE(compared); i++) {
        const char *name = plan_policy_name(compared[i]);
        if (o->format == REPLAY_CSV) {
            printf(",%s,%s sorted", name, name);
        } else {
            printf("  %17s", name);
        }
    }
    puts("");
}

static void print_means(struct options *o, const char *mix, const double *mean)
{
    if (o->format != REPLAY_TABLE) {
        print_csv_or_json(o, mix, mean);
    } else {
        printf("%-11s %9.2f %9.2f", mix, mean[0], mean[1]);
        for (size_t i = 0; i < ARRAY_SIZE(compared); i++) {
            printf("  %8.2f/%8.2f", mean[2 + 2 * i], mean[3 + 2 * i]);
        }
        puts("");
    }
    o->rows++;
    fflush(stdout);
}

static int pack_mix(struct options *o, const struct replay_mix *mix, struct error *err)
{
    const struct mig_geometry *g = &o->fleet.groups[0].geometry;
    struct replay_arrivals a;
    double sums[COLUMNS] = {0};
    /* As many arrivals as asked for: a fleet of this size has at least 20 of them per GPU. */
    int r = replay_arrivals_init(&a, g, (uint32_t)o->random, mix, 1, false, err);

    for (int run = 0; r == 0 && run < o->runs; run++) {
        r = pack_run(o, &a, run, sums, err);
    }
    for (size_t i = 0; i < COLUMNS; i++) {
        sums[i] /= (double)o->runs;
    }
    if (r == 0) {
        print_means(o, mix->name, sums);
    }
    replay_arrivals_done(&a);
    return r;
}

static int pack_random(struct options *o, struct error *err)
{
    struct replay_mix mix;
    int r = 0;

    if (strcmp(o->mix, "all") != 0) {
        r = replay_mix_parse(o->mix, &mix, err);
    }
    if (r == 0) {
        print_head(o);
    }
    if (r == 0 && strcmp(o->mix, "all") != 0) {
        r = pack_mix(o, &mix, err);
    } else {
        for (int i = 0; r == 0 && i < REPLAY_MIXES; i++) {
            r = pack_mix(o, &replay_mixes[i], err);
        }
    }
    if (r == 0 && o->format == REPLAY_JSON) {
        puts("\n]");
    }
    return r;
}

int replay_command_pack(int argc, char **argv)
{
    struct options o = {.mix = "all", .node_limit = 2000, .runs = 50};
    struct error err = {0};
    int r = parse(argc, argv, &o, &err);

    if (r > 0) {
        return 0;
    }
    if (r == 0) {
        r = o.random ? pack_random(&o, &err) : pack_wanted(&o, &err);
    }
    return r < 0 ? replay_fail(&err) : 0;
}
