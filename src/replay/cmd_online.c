/* tangram-replay online: acceptance of a policy under the online protocol. */
#include "base/cleanup.h"
#include "base/text.h"
#include "replay/command.h"
#include "replay/fleet.h"
#include "replay/online.h"
#include "replay/svg.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: tangram-replay online [--gpus MODEL:N] [--mix NAME|all] [--load X] [--runs N]\n"
    "           [--policy NAME|all] [--max-moves K] [--objective NAME] [--no-bound] [-o "
    "table|csv|json]\n"
    "Mixes: uniform, skew-small, skew-big, bimodal.  Policies: reach, fgd, first-fit, "
    "round-robin,\n"
    "best-fit, worst-fit, mfi, max-cc, lowest-slot.\n";

struct options {
    struct replay_fleet fleet;
    int mix; /* -1: all */
    double load;
    int runs;
    int policy; /* -1: all */
    int max_moves;
    enum plan_objective objective;
    bool has_bound;
    const char *format, *svg;
    int rows; /* printed so far */
};

static int parse_load(const char *s, double *ret, struct error *err)
{
    char *end = NULL;
    double x = strtod(s, &end);

    if (end == s || *end || !(x > 0) || x > 100) {
        return err_set(err, EINVAL, "--load: '%.40s' is not a number above 0 and up to 100", s);
    }
    *ret = x;
    return 0;
}

static int parse_number(const char *s, const char *what, int lo, int hi, int *ret,
                        struct error *err)
{
    int64_t n = 0;
    int r = text_parse_int(s, what, lo, hi, &n, err);

    if (r == 0) {
        *ret = (int)n;
    }
    return r;
}

static int parse_policy(const char *s, int *ret, struct error *err)
{
    enum plan_policy policy = PLAN_REACH;
    int r = 0;

    if (strcmp(s, "all") == 0) {
        *ret = -1;
        return 0;
    }
    r = plan_policy_parse(s, &policy, err);
    *ret = (int)policy;
    return r;
}

static int parse_option(struct options *o, int c, struct error *err)
{
    switch (c) {
    case 'g':
        return replay_fleet_parse(optarg, &o->fleet, err);
    case 'm':
        o->mix = -1;
        return strcmp(optarg, "all") == 0 ? 0 : replay_mix_parse(optarg, &o->mix, err);
    case 'l':
        return parse_load(optarg, &o->load, err);
    case 'r':
        return parse_number(optarg, "--runs", 1, 100000, &o->runs, err);
    case 'p':
        return parse_policy(optarg, &o->policy, err);
    case 'k':
        return parse_number(optarg, "--max-moves", 0, PLAN_MOVES_MAX, &o->max_moves, err);
    case 'j':
        return plan_objective_parse(optarg, &o->objective, err);
    case 'v':
        o->svg = optarg;
        return 0;
    case 'n':
        o->has_bound = false;
        return 0;
    case 'o':
        o->format = optarg;
        return 0;
    default:
        return err_set(err, EINVAL, "%s", usage);
    }
}

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    static const struct option longs[] = {{"gpus", required_argument, NULL, 'g'},
                                          {"mix", required_argument, NULL, 'm'},
                                          {"load", required_argument, NULL, 'l'},
                                          {"runs", required_argument, NULL, 'r'},
                                          {"policy", required_argument, NULL, 'p'},
                                          {"max-moves", required_argument, NULL, 'k'},
                                          {"objective", required_argument, NULL, 'j'},
                                          {"svg", required_argument, NULL, 'v'},
                                          {"no-bound", no_argument, NULL, 'n'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c, r = replay_fleet_parse("H100-SXM5-80GB:100", &o->fleet, err);

    while (r == 0 && (c = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
        r = parse_option(o, c, err);
    }
    if (r == 0 && (optind < argc || o->fleet.count != 1 ||
                   (strcmp(o->format, "table") != 0 && strcmp(o->format, "csv") != 0 &&
                    strcmp(o->format, "json") != 0))) {
        r = err_set(err, EINVAL, "%s", usage);
    }
    return r;
}

static void print_row(struct options *o, const char *policy, int mix,
                      const struct replay_online_result *x)
{
    bool is_json = strcmp(o->format, "json") == 0, is_csv = strcmp(o->format, "csv") == 0;
    const char *form =
        is_json  ? "%s\n {\"mix\":\"%s\",\"policy\":\"%s\",\"max_moves\":%d,"
                   "\"accepted_ratio\":%.6f,\"accepted_ratio_ci\":%.6f,"
                   "\"accepted_slices_ratio\":%.6f,\"accepted_slices_ratio_ci\":%.6f,"
                   "\"moves_per_100\":%.4f,\"decisions\":%llu,"
                   "\"decision_ns\":{\"p50\":%.0f,\"p99\":%.0f}}"
        : is_csv ? "%s%s,%s,%d,%.6f,%.6f,%.6f,%.6f,%.4f,%llu,%.0f,%.0f\n"
                 : "%s%-11s %-15s %5d  %8.4f +-%6.4f  %8.4f +-%6.4f  %9.3f  %9llu %7.0f %7.0f\n";

    if (o->rows == 0 && !is_json) {
        puts(is_csv ? "mix,policy,max_moves,accepted_ratio,accepted_ratio_ci,"
                      "accepted_slices_ratio,accepted_slices_ratio_ci,moves_per_100,decisions,"
                      "p50_ns,p99_ns"
                    : "MIX         POLICY          MOVES  REQUESTS           SLICES             "
                      "MOVES/100  DECISIONS  P50_NS  P99_NS");
    }
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"");
    printf(form, is_json ? (o->rows ? "," : "[") : "", replay_mix_name(mix), policy, o->max_moves,
           x->requests.mean, x->requests.half_width, x->slices.mean, x->slices.half_width,
           x->moves_per_100, (unsigned long long)x->decisions, x->decision_ns[0],
           x->decision_ns[1]);
    _Pragma("GCC diagnostic pop");
    o->rows++;
    fflush(stdout);
}

static int run_mix(struct options *o, int mix, struct error *err)
{
    struct replay_online setup = {.geometry = &o->fleet.groups[0].geometry,
                                  .gpus = o->fleet.groups[0].gpus,
                                  .mix = mix,
                                  .load = o->load,
                                  .runs = o->runs,
                                  .max_moves = o->max_moves};
    struct replay_online_result result;
    int r = 0;

    plan_settings_default(&setup.settings);
    setup.settings.objective = o->objective;
    for (int i = 0; r == 0 && i < PLAN_POLICY_COUNT; i++) {
        if (o->policy >= 0 && o->policy != i) {
            continue;
        }
        setup.settings.policy = (enum plan_policy)i;
        r = replay_online_run(&setup, &result, err);
        if (r == 0) {
            print_row(o, plan_policy_name(setup.settings.policy), mix, &result);
        }
    }
    if (r == 0 && o->has_bound) {
        setup.is_free_migration = true;
        if (replay_online_run(&setup, &result, NULL) == 0) {
            print_row(o, "free-migration", mix, &result);
        }
    }
    return r;
}

#define PLOT_POINTS 6

/* Accepted slots against the most moves for one request; a line for each mix. */
static int plot_moves(const struct options *o, struct error *err)
{
    static const double moves[PLOT_POINTS] = {0, 1, 2, 3, 5, 8};
    double accepted[REPLAY_MIXES][PLOT_POINTS];
    struct replay_line lines[REPLAY_MIXES];
    size_t count = 0;

    for (int mix = 0; mix < REPLAY_MIXES; mix++) {
        struct replay_online setup = {.geometry = &o->fleet.groups[0].geometry,
                                      .gpus = o->fleet.groups[0].gpus,
                                      .mix = mix,
                                      .load = o->load,
                                      .runs = o->runs};
        plan_settings_default(&setup.settings);
        setup.settings.objective = o->objective;
        setup.settings.policy = o->policy < 0 ? PLAN_REACH : (enum plan_policy)o->policy;
        for (int i = 0; (o->mix < 0 || o->mix == mix) && i < PLOT_POINTS; i++) {
            struct replay_online_result x;
            setup.max_moves = (int)moves[i];
            int r = replay_online_run(&setup, &x, err);
            if (r < 0) {
                return r;
            }
            accepted[mix][i] = 100 * x.slices.mean;
        }
        if (o->mix < 0 || o->mix == mix) {
            lines[count++] =
                (struct replay_line){replay_mix_name(mix), PLOT_POINTS, moves, accepted[mix]};
        }
    }
    return replay_svg_write(o->svg, "Acceptance against moves", "most moves for one request",
                            "accepted memory slots, %", lines, count, err);
}

int replay_command_online(int argc, char **argv)
{
    struct options o = {.mix = -1,
                        .load = 1,
                        .runs = 50,
                        .policy = PLAN_REACH,
                        .objective = PLAN_SLICES,
                        .has_bound = true,
                        .format = "table"};
    struct error err = {0};
    int r = parse(argc, argv, &o, &err);

    for (int mix = 0; r == 0 && mix < REPLAY_MIXES; mix++) {
        if (o.mix < 0 || o.mix == mix) {
            r = run_mix(&o, mix, &err);
        }
    }
    if (r == 0 && strcmp(o.format, "json") == 0) {
        puts("\n]");
    }
    if (r == 0 && o.svg) {
        r = plot_moves(&o, &err);
    }
    return r < 0 ? replay_fail(&err) : 0;
}
