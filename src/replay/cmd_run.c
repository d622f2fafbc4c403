/* tangram-replay run: a trace in simulated time. */
#include "base/cleanup.h"
#include "pool/pool.h"
#include "replay/command.h"
#include "replay/options.h"
#include "replay/simulate.h"
#include "replay/svg.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: tangram-replay run --gpus MODEL:N[,...] --trace FILE [--policy NAME]\n"
    "           [--max-moves K] [--queue loss|fifo|backfill] [--create-ms N] [--delete-ms N]\n"
    "           [--age-step-ms N] [--max-compute N] [--objective NAME]\n"
    "           [--bounds auto|none|fast|lp] [--seed N] [--svg FILE] [--jobs FILE]\n"
    "           [-o table|csv|json]\n"
    "FILE is CSV: arrival_ms,profile,duration_ms[,tenant,priority,movable].  Without the column\n"
    "movable every slice may be moved.  The trace goes through the pool of the daemon; with\n"
    "--max-moves above 0 every holder who is asked to move agrees at once, and a request of the\n"
    "loss system waits only while room is made for it.  Nothing here is random: --seed is\n"
    "accepted and not used.  --jobs writes what became of each request, as CSV.";

struct options {
    struct replay_fleet fleet;
    struct replay_trace trace;
    struct replay_setup setup;
    const char *trace_path, *svg, *jobs;
    int64_t max_moves, seed;
    int queue, bounds, format;
};

static const char *const queue_words[] = {"loss", "fifo", "backfill", NULL};
static const char *const bound_words[] = {"auto", "none", "fast", "lp", NULL};

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    struct replay_setup *s = &o->setup;
    const struct replay_option table[] = {
        {"gpus", REPLAY_OPTION_FLEET, &o->fleet, 0, 0, NULL},
        {"trace", REPLAY_OPTION_TEXT, &o->trace_path, 0, 0, NULL},
        {"policy", REPLAY_OPTION_POLICY, &s->settings.policy, 0, 0, NULL},
        {"objective", REPLAY_OPTION_OBJECTIVE, &s->settings.objective, 0, 0, NULL},
        {"max-moves", REPLAY_OPTION_INT, &o->max_moves, 0, PLAN_MOVES_MAX, NULL},
        {"queue", REPLAY_OPTION_WORD, &o->queue, 0, 0, queue_words},
        {"create-ms", REPLAY_OPTION_INT, &s->create_ms, 0, 1 << 30, NULL},
        {"delete-ms", REPLAY_OPTION_INT, &s->delete_ms, 0, 1 << 30, NULL},
        {"age-step-ms", REPLAY_OPTION_INT, &s->age_step_ms, 0, 1ll << 40, NULL},
        {"max-compute", REPLAY_OPTION_INT, &s->max_compute, 0, 1 << 30, NULL},
        {"bounds", REPLAY_OPTION_WORD, &o->bounds, 0, 0, bound_words},
        {"seed", REPLAY_OPTION_INT, &o->seed, 0, INT64_MAX, NULL},
        {"svg", REPLAY_OPTION_TEXT, &o->svg, 0, 0, NULL},
        {"jobs", REPLAY_OPTION_TEXT, &o->jobs, 0, 0, NULL},
        {"output", REPLAY_OPTION_WORD, &o->format, 0, 0, replay_formats},
    };
    int r = replay_options_read(argc, argv, table, ARRAY_SIZE(table), usage, err);

    if (r == 0 && (!o->fleet.count || !o->trace_path)) {
        r = err_set(err, EINVAL, "run needs --gpus and --trace (tangram-replay run --help)");
    }
    s->max_moves = (int)o->max_moves;
    s->queue = (enum replay_queue)o->queue;
    s->bound_effort = (enum replay_bound_effort)o->bounds;
    return r;
}

static void print_number(const char *name, double value, const char *form)
{
    printf("\"%s\":", name);
    if (isnan(value) || value < 0) {
        printf("null");
    } else {
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"");
        printf(form, value);
        _Pragma("GCC diagnostic pop");
    }
}

/* JSON strings: profiles were parsed, so they are plain ASCII without quotes. */
static void print_json(const struct options *o, const struct replay_outcome *x)
{
    const char *sep = "";

    printf("{\"policy\":\"%s\",\"engine\":\"pool\",\"requests\":%llu,\"accepted\":%llu,",
           plan_policy_name(o->setup.settings.policy),
           (unsigned long long)x->requests, (unsigned long long)x->accepted);
    printf("\"accepted_ratio\":%.6f,\"accepted_slices_ratio\":%.6f,\"compute_util\":%.6f,"
           "\"memory_util\":%.6f,\"mean_wait_ms\":%.3f,\"p95_wait_ms\":%.0f,"
           "\"p99_wait_ms_by_profile\":{",
           x->accepted_ratio, x->accepted_slices_ratio, x->compute_util, x->memory_util,
           x->mean_wait_ms, x->p95_wait_ms);
    for (uint32_t p = 0; p < o->trace.profile_count; p++, sep = ",") {
        printf("%s", sep);
        print_number(o->trace.profiles[p], x->waits[p].p99_wait_ms, "%.0f");
    }
    printf("},\"makespan_ms\":%lld,\"moves\":%llu,\"recuts\":%llu,\"decisions\":%llu,"
           "\"decision_ns\":{\"p50\":%.0f,\"p99\":%.0f},\"bounds\":{",
           (long long)x->makespan_ms, (unsigned long long)x->moves, (unsigned long long)x->recuts,
           (unsigned long long)x->decisions, x->decision_ns[0], x->decision_ns[1]);
    print_number("accepted_ratio", x->bounds.free_accepted_ratio, "%.6f");
    printf(",");
    print_number("accepted_slices_ratio", x->bounds.free_slices_ratio, "%.6f");
    printf(",");
    print_number("clairvoyant_accepted_ratio", x->bounds.clairvoyant_accepted_ratio, "%.6f");
    printf(",");
    print_number("clairvoyant_accepted_slices_ratio", x->bounds.clairvoyant_slices_ratio, "%.6f");
    printf(",");
    print_number("makespan_ms", (double)x->bounds.makespan_ms, "%.0f");
    printf("}}\n");
}

static void print_csv(const struct options *o, const struct replay_outcome *x)
{
    printf("policy,requests,accepted,accepted_ratio,accepted_slices_ratio,compute_util,"
           "memory_util,mean_wait_ms,p95_wait_ms,makespan_ms,moves,recuts,decisions,p50_ns,p99_ns,"
           "bound_accepted_ratio,bound_accepted_slices_ratio,bound_makespan_ms,engine,"
           "bound_clairvoyant_accepted_ratio,bound_clairvoyant_accepted_slices_ratio\n");
    printf("%s,%llu,%llu,%.6f,%.6f,%.6f,%.6f,%.3f,%.0f,%lld,%llu,%llu,%llu,%.0f,%.0f,%.6f,%.6f,"
           "%lld,%s,%.6f,%.6f\n",
           plan_policy_name(o->setup.settings.policy), (unsigned long long)x->requests,
           (unsigned long long)x->accepted, x->accepted_ratio, x->accepted_slices_ratio,
           x->compute_util, x->memory_util, x->mean_wait_ms, x->p95_wait_ms,
           (long long)x->makespan_ms, (unsigned long long)x->moves, (unsigned long long)x->recuts,
           (unsigned long long)x->decisions, x->decision_ns[0], x->decision_ns[1],
           x->bounds.free_accepted_ratio, x->bounds.free_slices_ratio,
           (long long)x->bounds.makespan_ms, "pool", x->bounds.clairvoyant_accepted_ratio,
           x->bounds.clairvoyant_slices_ratio);
}

static void print_table(const struct options *o, const struct replay_outcome *x)
{
    printf("Accepted     %llu of %llu requests (%.2f %%), %.2f %% of the slots asked for\n",
           (unsigned long long)x->accepted, (unsigned long long)x->requests,
           100 * x->accepted_ratio, 100 * x->accepted_slices_ratio);
    if (!isnan(x->bounds.free_accepted_ratio)) {
        printf(
            "  yardstick  %.2f %% and %.2f %% (all slices move freely, first come first served)\n",
            100 * x->bounds.free_accepted_ratio, 100 * x->bounds.free_slices_ratio);
    }
    if (!isnan(x->bounds.clairvoyant_accepted_ratio)) {
        printf(
            "  at most    %.2f %% or %.2f %% (nobody does better, whatever he knows beforehand)\n",
            100 * x->bounds.clairvoyant_accepted_ratio, 100 * x->bounds.clairvoyant_slices_ratio);
    }
    printf("Used         %.2f %% of compute, %.2f %% of memory\n", 100 * x->compute_util,
           100 * x->memory_util);
    printf("Waits        %.1f ms on average, %.0f ms at 95 %%\n", x->mean_wait_ms, x->p95_wait_ms);
    for (uint32_t p = 0; p < o->trace.profile_count; p++) {
        if (x->waits[p].count) {
            printf("  %-10s %.0f ms at 99 %%\n", o->trace.profiles[p], x->waits[p].p99_wait_ms);
        } else {
            printf("  %-10s never accepted\n", o->trace.profiles[p]);
        }
    }
    printf("Makespan     %lld ms", (long long)x->makespan_ms);
    if (x->bounds.makespan_ms >= 0) {
        printf(" (at least %lld)", (long long)x->bounds.makespan_ms);
    }
    printf("\nMoves        %llu; slices cut %llu times\n", (unsigned long long)x->moves,
           (unsigned long long)x->recuts);
    printf("%-12s %llu, %.0f ns at the median, %.0f ns at 99 %%\n",
           "In the pool", (unsigned long long)x->decisions,
           x->decision_ns[0], x->decision_ns[1]);
}

static int write_svg(const struct options *o, const struct replay_outcome *x, struct error *err)
{
    double times[REPLAY_SAMPLES];
    struct replay_line line = {"memory slots in use", REPLAY_SAMPLES, times, x->samples};

    for (int i = 0; i < REPLAY_SAMPLES; i++) {
        times[i] = (double)x->makespan_ms / 1000 * i / REPLAY_SAMPLES;
    }
    return replay_svg_write(o->svg, "Utilisation over time", "seconds", "share", &line, 1, err);
}

/* In the order of the trace; the last four are empty for who was not accepted. */
static int write_jobs(const struct options *o, const struct replay_outcome *x, struct error *err)
{
    FILE *f = fopen(o->jobs, "we");

    if (!f) {
        return err_set(err, errno, "cannot write %s: %s", o->jobs, strerror(errno));
    }
    fputs("arrival_ms,profile,duration_ms,ready_ms,end_ms,gpu,slot\n", f);
    for (size_t i = 0; i < o->trace.count; i++) {
        const struct replay_job *j = &o->trace.jobs[i];
        const struct replay_span *s = &x->spans[i];
        const char *profile = o->trace.profiles[j->profile];
        const char *quote = strchr(profile, ',') ? "\"" : ""; /* memory=12GiB,compute=2 */
        fprintf(f, "%" PRId64 ",%s%s%s,%" PRId64 ",", j->arrival_ms, quote, profile, quote,
                j->duration_ms);
        if (s->is_started) {
            fprintf(f, "%" PRId64 ",%" PRId64 ",%u,%u\n", s->ready_ms, s->end_ms, s->gpu,
                    s->start);
        } else {
            fputs(",,,\n", f);
        }
    }
    int failed = ferror(f);
    if (fclose(f) != 0 || failed) {
        return err_set(err, EIO, "cannot write %s", o->jobs);
    }
    return 0;
}

int replay_command_run(int argc, char **argv)
{
    struct options o = {0};
    struct pool_settings defaults;
    struct replay_outcome x;
    struct error err = {0};
    int r;

    pool_settings_default(&defaults);
    o.setup.settings = defaults.plan;
    o.setup.age_step_ms = defaults.age_step_ms;
    r = parse(argc, argv, &o, &err);
    if (r > 0) {
        return 0;
    }
    if (r == 0) {
        r = replay_trace_read(o.trace_path, &o.trace, &err);
    }
    o.setup.fleet = &o.fleet;
    o.setup.trace = &o.trace;
    if (r == 0) {
        r = replay_simulate(&o.setup, &x, &err);
    }
    if (r == 0) {
        (o.format == REPLAY_JSON  ? print_json
         : o.format == REPLAY_CSV ? print_csv
                                  : print_table)(&o, &x);
        r = o.svg ? write_svg(&o, &x, &err) : 0;
        r = r == 0 && o.jobs ? write_jobs(&o, &x, &err) : r;
        replay_outcome_done(&x);
    }
    replay_trace_done(&o.trace);
    return r < 0 ? replay_fail(&err) : 0;
}
