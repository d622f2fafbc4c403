/* tangram-replay pack: the least number of GPUs for a set of slices. */
#include "base/cleanup.h"
#include "base/text.h"
#include "replay/command.h"
#include "replay/fleet.h"
#include "replay/pack.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: tangram-replay pack --model MODEL --want PROFILE:N[,PROFILE:N...]\n"
    "           [--method auto|search] [--node-limit N] [-o table|json]\n"
    "PROFILE as everywhere: 2g.20gb, 2g, memory=12GiB.  \"search\" does without the closed form.";

struct options {
    struct replay_fleet fleet;
    const char *want, *format;
    bool use_closed_form;
    int64_t node_limit;
};

static int parse_option(struct options *o, int c, struct error *err)
{
    switch (c) {
    case 'm':
        return replay_fleet_parse(optarg, &o->fleet, err);
    case 'w':
        o->want = optarg;
        return 0;
    case 't':
        o->use_closed_form = strcmp(optarg, "auto") == 0;
        return o->use_closed_form || strcmp(optarg, "search") == 0
                   ? 0
                   : err_set(err, EINVAL, "--method is auto or search");
    case 'n':
        return text_parse_int(optarg, "--node-limit", 1, 1000000, &o->node_limit, err);
    case 'o':
        o->format = optarg;
        return strcmp(optarg, "table") == 0 || strcmp(optarg, "json") == 0
                   ? 0
                   : err_set(err, EINVAL, "-o is table or json");
    default:
        return err_set(err, EINVAL, "%s", usage);
    }
}

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"want", required_argument, NULL, 'w'},
                                          {"method", required_argument, NULL, 't'},
                                          {"node-limit", required_argument, NULL, 'n'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
        r = parse_option(o, c, err);
    }
    if (r == 0 && (optind < argc || o->fleet.count != 1 || !o->want)) {
        r = err_set(err, EINVAL, "%s", usage);
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

    if (strcmp(o->format, "json") == 0) {
        printf("{\"model\":\"%s\",\"gpus\":%u,\"proven\":%s,\"at_least\":%u,\"area_bound\":%u,"
               "\"method\":\"%s\",\"nodes\":%u}\n",
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

int replay_command_pack(int argc, char **argv)
{
    struct options o = {.format = "table", .use_closed_form = true, .node_limit = 2000};
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    struct replay_pack result = {0};
    struct error err = {0};
    int r = parse(argc, argv, &o, &err);

    if (r == 0) {
        r = parse_wants(o.want, &o.fleet.groups[0].geometry, counts, &err);
    }
    if (r == 0) {
        r = replay_pack_solve(&o.fleet.groups[0].geometry, counts, o.use_closed_form,
                              (uint32_t)o.node_limit, &result, &err);
    }
    if (r < 0) {
        return replay_fail(&err);
    }
    print(&o, &result);
    return 0;
}
