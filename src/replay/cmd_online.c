/* tangram-replay online: acceptance of policies under the online protocol, beside what cannot be
 * beaten. */
#include "base/cleanup.h"
#include "base/text.h"
#include "replay/command.h"
#include "replay/fleet.h"
#include "replay/online.h"
#include "replay/options.h"
#include "replay/svg.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: tangram-replay online [--gpus MODEL:N] [--mix NAME|all] [--load X] [--runs N]\n"
    "           [--policy NAME[,NAME...]|all] [--max-moves K] [--objective NAME]\n"
    "           [--arrivals slots|poisson] [--limits X] [--bounds none|fast|lp] [--svg FILE]\n"
    "           [-o table|csv|json]\n"
    "Mixes: uniform, skew-small, skew-big, bimodal; random:N, the N-th of all possible ones; or "
    "six\n"
    "shares, of 1g, 1g with double memory, 2g, 3g, 4g, 7g: 3,2.5,2,1,1,0.5.  Policies: reach, "
    "align,\n"
    "value, fgd, first-fit, round-robin, best-fit, worst-fit, mfi, max-cc, lowest-slot.  --limits "
    "X:\n"
    "time limits are declared, 1 to X times what it takes; only align and value look at them.  "
    "LEAD\n"
    "is how many points of slices more the first policy accepts than this row does, in the same\n"
    "runs.";

static const char *const arrival_words[] = {"slots", "poisson", NULL};
static const char *const bound_words[] = {"none", "fast", "lp", NULL};
enum bounds { BOUNDS_NONE, BOUNDS_FAST, BOUNDS_LP };

struct options {
    struct replay_fleet fleet;
    const char *mix, *policy, *svg;
    double load, overstated;
    int64_t runs, max_moves;
    enum plan_objective objective;
    int arrivals, bounds, format;
    bool has_no_bound;
    /* From the above. */
    int mix_count, policy_count;
    struct replay_mix mixes[REPLAY_MIXES];
    enum plan_policy policies[PLAN_POLICY_COUNT];
    int rows; /* printed so far */
};

static int read_policies(struct options *o, struct error *err)
{
    CLEANUP(freep) char *copy = xstrdup(o->policy);
    char *rest = copy, *name;
    int r = 0;

    if (strcmp(o->policy, "all") == 0) {
        for (int i = 0; i < PLAN_POLICY_COUNT; i++) {
            o->policies[o->policy_count++] = (enum plan_policy)i;
        }
        return 0;
    }
    while (r == 0 && (name = strsep(&rest, ","))) {
        if (o->policy_count == PLAN_POLICY_COUNT) {
            return err_set(err, EINVAL, "--policy: a policy is named twice");
        }
        r = plan_policy_parse(name, &o->policies[o->policy_count++], err);
    }
    return r;
}

static int read_mixes(struct options *o, struct error *err)
{
    if (strcmp(o->mix, "all") == 0) {
        memcpy(o->mixes, replay_mixes, sizeof(o->mixes));
        o->mix_count = REPLAY_MIXES;
        return 0;
    }
    o->mix_count = 1;
    return replay_mix_parse(o->mix, &o->mixes[0], err);
}

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    const struct replay_option table[] = {
        {"gpus", REPLAY_OPTION_FLEET, &o->fleet, 0, 0, NULL},
        {"mix", REPLAY_OPTION_TEXT, &o->mix, 0, 0, NULL},
        {"load", REPLAY_OPTION_REAL, &o->load, 0, 100, NULL},
        {"limits", REPLAY_OPTION_REAL, &o->overstated, 0, 1000, NULL},
        {"runs", REPLAY_OPTION_INT, &o->runs, 1, 100000, NULL},
        {"policy", REPLAY_OPTION_TEXT, &o->policy, 0, 0, NULL},
        {"max-moves", REPLAY_OPTION_INT, &o->max_moves, 0, PLAN_MOVES_MAX, NULL},
        {"objective", REPLAY_OPTION_OBJECTIVE, &o->objective, 0, 0, NULL},
        {"arrivals", REPLAY_OPTION_WORD, &o->arrivals, 0, 0, arrival_words},
        {"bounds", REPLAY_OPTION_WORD, &o->bounds, 0, 0, bound_words},
        {"no-bound", REPLAY_OPTION_FLAG, &o->has_no_bound, 0, 0, NULL},
        {"svg", REPLAY_OPTION_TEXT, &o->svg, 0, 0, NULL},
        {"output", REPLAY_OPTION_WORD, &o->format, 0, 0, replay_formats},
    };
    int r = replay_fleet_parse("H100-SXM5-80GB:100", &o->fleet, err);

    if (r == 0) {
        r = replay_options_read(argc, argv, table, ARRAY_SIZE(table), usage, err);
    }
    if (r == 0 && o->fleet.count != 1) {
        r = err_set(err, EINVAL, "--gpus: the protocol is for fleets of one model");
    }
    if (r == 0 && o->overstated > 0 && o->overstated < 1) {
        r = err_set(err, EINVAL, "--limits: a time limit below what it takes would end the work");
    }
    if (r == 0) {
        r = read_mixes(o, err);
    }
    if (r == 0) {
        r = read_policies(o, err);
    }
    o->bounds = o->has_no_bound ? BOUNDS_NONE : o->bounds;
    return r;
}

/* --- printing --- */

struct row {
    const char *mix, *policy;
    const char *holds_for; /* NULL: no bound but what a policy did */
    struct replay_online_result x;
    struct replay_ratio lead;
};

static void print_head(const struct options *o)
{
    if (o->format == REPLAY_CSV) {
        puts("mix,policy,max_moves,accepted_ratio,accepted_ratio_ci,accepted_slices_ratio,"
             "accepted_slices_ratio_ci,moves_per_100,decisions,p50_ns,p99_ns,lead,lead_ci");
    } else if (o->format == REPLAY_TABLE) {
        puts("MIX         POLICY          MOVES  REQUESTS           SLICES             "
             "LEAD               MOVES/100  DECISIONS  P50_NS  P99_NS");
    }
}

static void print_number(const char *before, double x)
{
    if (isfinite(x)) {
        printf("%s%.6f", before, x);
    } else {
        printf("%snull", before);
    }
}

static void print_json_row(const struct options *o, const struct row *r)
{
    const struct replay_online_result *x = &r->x;

    printf("%s\n {\"mix\":\"%s\",\"policy\":\"%s\",\"max_moves\":%d,", o->rows ? "," : "[", r->mix,
           r->policy, (int)o->max_moves);
    print_number("\"accepted_ratio\":", x->requests.mean);
    print_number(",\"accepted_ratio_ci\":", x->requests.half_width);
    print_number(",\"accepted_slices_ratio\":", x->slices.mean);
    print_number(",\"accepted_slices_ratio_ci\":", x->slices.half_width);
    print_number(",\"lead\":", r->lead.mean);
    print_number(",\"lead_ci\":", r->lead.half_width);
    printf(
        ",\"moves_per_100\":%.4f,\"decisions\":%llu,\"decision_ns\":{\"p50\":%.0f,\"p99\":%.0f},",
        x->moves_per_100, (unsigned long long)x->decisions, x->decision_ns[0], x->decision_ns[1]);
    if (r->holds_for) {
        printf("\"is_bound\":true,\"holds_for\":\"%s\"}", r->holds_for);
    } else {
        printf("\"is_bound\":false,\"holds_for\":null}");
    }
}

static void print_row(struct options *o, const struct row *r)
{
    const struct replay_online_result *x = &r->x;

    if (o->format == REPLAY_JSON) {
        print_json_row(o, r);
    } else if (o->format == REPLAY_CSV) {
        printf("%s,%s,%d,%.6f,%.6f,%.6f,%.6f,%.4f,%llu,%.0f,%.0f,%.6f,%.6f\n", r->mix, r->policy,
               (int)o->max_moves, x->requests.mean, x->requests.half_width, x->slices.mean,
               x->slices.half_width, x->moves_per_100, (unsigned long long)x->decisions,
               x->decision_ns[0], x->decision_ns[1], r->lead.mean, r->lead.half_width);
    } else {
        char lead[40] = "-"; /* a bound in the long run is of no run */
        if (isfinite(r->lead.mean)) {
            snprintf(lead, sizeof(lead), "%8.4f +-%6.4f", r->lead.mean, r->lead.half_width);
        }
        printf("%-11s %-15s %5d  %8.4f +-%6.4f  %8.4f +-%6.4f  %17s  %9.3f  %9llu %7.0f %7.0f\n",
               r->mix, r->policy, (int)o->max_moves, x->requests.mean, x->requests.half_width,
               x->slices.mean, x->slices.half_width, lead, x->moves_per_100,
               (unsigned long long)x->decisions, x->decision_ns[0], x->decision_ns[1]);
    }
    o->rows++;
    fflush(stdout);
}

static void print_notes(const struct options *o)
{
    if (o->format != REPLAY_TABLE || o->bounds == BOUNDS_NONE) {
        return;
    }
    puts("\nBounds, and for whom they hold:\n"
         "free-migration  planners that take work first come, first served and never turn away "
         "what\n"
         "                fits, on the requests they have seen\n"
         "fluid           in the long run, planners that cannot tell who will stay for long");
    puts("steady-state    free migration in the long run if arrivals were Poisson; exact");
    if (o->bounds == BOUNDS_LP) {
        puts("clairvoyant     everybody, also who knows all requests beforehand");
    }
}

/* --- rows --- */

static struct replay_online setup_of(const struct options *o, const struct replay_mix *mix)
{
    struct replay_online setup = {.geometry = &o->fleet.groups[0].geometry,
                                  .gpus = o->fleet.groups[0].gpus,
                                  .mix = mix,
                                  .load = o->load,
                                  .is_poisson = o->arrivals == 1,
                                  .overstated = o->overstated,
                                  .runs = (int)o->runs,
                                  .max_moves = (int)o->max_moves};

    plan_settings_default(&setup.settings);
    setup.settings.objective = o->objective;
    setup.settings.policy = o->policies[0];
    return setup;
}

/* A bound that is computed run by run; silent where there is none. */
static void bound_row(struct options *o, struct replay_online *setup, enum replay_online_who who,
                      const struct replay_online_result *first)
{
    struct row row = {.mix = setup->mix->name,
                      .policy = who == REPLAY_FREE ? "free-migration" : "clairvoyant",
                      .holds_for = who == REPLAY_FREE ? "first come first served" : "everybody"};

    setup->who = who;
    if (replay_online_run(setup, &row.x, NULL) == 0) {
        row.lead = replay_online_lead(first, &row.x, setup->runs);
        print_row(o, &row);
        replay_online_result_done(&row.x);
    }
}

static void steady_rows(struct options *o, const struct replay_online *setup)
{
    const struct replay_ratio none = {NAN, NAN};
    struct replay_steady steady;
    struct row row = {.mix = setup->mix->name, .lead = none};

    if (replay_online_steady(setup, &steady, NULL) < 0) {
        return;
    }
    row.policy = "fluid";
    row.holds_for = "not knowing durations, long run";
    row.x.requests = (struct replay_ratio){steady.fluid_requests, 0};
    row.x.slices = (struct replay_ratio){steady.fluid_slices, 0};
    print_row(o, &row);
    if (isfinite(steady.free_requests)) {
        row.policy = "steady-state";
        row.holds_for = "free migration, Poisson arrivals, long run";
        row.x.requests.mean = steady.free_requests;
        row.x.slices.mean = steady.free_slices;
        print_row(o, &row);
    }
}

static int run_mix(struct options *o, const struct replay_mix *mix, struct error *err)
{
    struct replay_online setup = setup_of(o, mix);
    struct replay_online_result first = {0};
    int r = 0;

    for (int i = 0; r == 0 && i < o->policy_count; i++) {
        struct row row = {.mix = mix->name, .policy = plan_policy_name(o->policies[i])};
        setup.settings.policy = o->policies[i];
        r = replay_online_run(&setup, &row.x, err);
        if (r < 0) {
            break;
        }
        row.lead = replay_online_lead(i ? &first : &row.x, &row.x, setup.runs);
        print_row(o, &row);
        if (i == 0) {
            first = row.x;
        } else {
            replay_online_result_done(&row.x);
        }
    }
    if (r == 0 && o->bounds != BOUNDS_NONE) {
        bound_row(o, &setup, REPLAY_FREE, &first);
        steady_rows(o, &setup);
    }
    if (r == 0 && o->bounds == BOUNDS_LP) {
        bound_row(o, &setup, REPLAY_CLAIRVOYANT, &first);
    }
    replay_online_result_done(&first);
    return r;
}

#define PLOT_POINTS 6

/* Accepted slots against the most moves for one request; a line for each mix. */
static int plot_moves(const struct options *o, struct error *err)
{
    static const double moves[PLOT_POINTS] = {0, 1, 2, 3, 5, 8};
    double accepted[REPLAY_MIXES][PLOT_POINTS];
    struct replay_line lines[REPLAY_MIXES];

    for (int mix = 0; mix < o->mix_count; mix++) {
        struct replay_online setup = setup_of(o, &o->mixes[mix]);
        for (int i = 0; i < PLOT_POINTS; i++) {
            struct replay_online_result x;
            setup.max_moves = (int)moves[i];
            int r = replay_online_run(&setup, &x, err);
            if (r < 0) {
                return r;
            }
            accepted[mix][i] = 100 * x.slices.mean;
            replay_online_result_done(&x);
        }
        lines[mix] = (struct replay_line){o->mixes[mix].name, PLOT_POINTS, moves, accepted[mix]};
    }
    return replay_svg_write(o->svg, "Acceptance against moves", "most moves for one request",
                            "accepted memory slots, %", lines, (size_t)o->mix_count, err);
}

int replay_command_online(int argc, char **argv)
{
    struct options o = {.mix = "all",
                        .policy = "reach",
                        .load = 1,
                        .runs = 50,
                        .objective = PLAN_SLICES,
                        .bounds = BOUNDS_FAST};
    struct error err = {0};
    int r = parse(argc, argv, &o, &err);

    if (r > 0) {
        return 0;
    }
    if (r == 0) {
        print_head(&o);
    }
    for (int mix = 0; r == 0 && mix < o.mix_count; mix++) {
        r = run_mix(&o, &o.mixes[mix], &err);
    }
    if (r == 0 && o.format == REPLAY_JSON) {
        puts("\n]");
    }
    if (r == 0) {
        print_notes(&o);
    }
    if (r == 0 && o.svg) {
        r = plot_moves(&o, &err);
    }
    return r < 0 ? replay_fail(&err) : 0;
}
