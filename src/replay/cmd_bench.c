/* tangram-replay bench: decisions per second against the number of GPUs.
 *
 * A fleet is filled until the first refusal; then in turn a slice chosen at random is given back
 * and the next request of the uniform mix is placed, so that the fleet stays nearly full.  All
 * random numbers are drawn beforehand.  Placements and releases per second are per second of the
 * processor, plans with moves take its time; single decisions are timed by the clock, interruptions
 * and all. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "plan/plan.h"
#include "plan/set.h"
#include "replay/command.h"
#include "replay/fleet.h"
#include "replay/options.h"
#include "replay/random.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: tangram-replay bench [--model MODEL] [--size GPUS] [--seconds N] [--policy NAME]\n"
    "           [-o table|csv|json]";

/* Of this thread: other work on the machine does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

#define DRAWS (1u << 16)

struct options {
    struct replay_fleet fleet;
    int64_t seconds, size; /* size 0: the whole curve */
    enum plan_policy policy;
    int format;
};

struct slice_at {
    uint32_t gpu;
    struct mig_slice slice;
};

struct bench {
    struct plan *plan;
    uint32_t gpus, live_count, live_size;
    struct slice_at *live;
    uint32_t draws[DRAWS];
    struct plan_ask asks[MIG_PROFILES_MAX];
    int ask_count;
};

struct bench_row {
    double ops_per_s, bytes_per_gpu, accepted;
    double place_ns[3], move_us[3], gang_us[3]; /* p50, p99, most */
};

/* Plain profiles only: those with a suffix compete for one engine. */
static void bench_init(struct bench *b, const struct options *o, uint32_t gpus)
{
    const struct mig_geometry *g = &o->fleet.groups[0].geometry;
    struct plan_settings settings;
    struct replay_random random;
    int class_id = 0;

    *b = (struct bench){.gpus = gpus};
    plan_settings_default(&settings);
    settings.policy = o->policy;
    b->plan = plan_new(&settings);
    plan_add_class(b->plan, g, &class_id, NULL);
    for (uint32_t i = 0; i < gpus; i++) {
        plan_add_gpu(b->plan, i, class_id, NULL);
    }
    for (int p = 0; p < g->profile_count; p++) {
        if (!strpbrk(g->profiles[p].name, "+-") && g->profiles[p].start_count) {
            plan_ask_init(&b->asks[b->ask_count]);
            b->asks[b->ask_count++].profile[class_id] = (int8_t)p;
        }
    }
    replay_random_seed(&random, 42);
    for (uint32_t i = 0; i < DRAWS; i++) {
        b->draws[i] = (uint32_t)replay_random_next(&random);
    }
    b->live_size = gpus * MIG_SLOTS_MAX;
    b->live = xcalloc(b->live_size, sizeof(*b->live));
}

static bool place_one(struct bench *b, uint32_t draw)
{
    const struct plan_ask *ask = &b->asks[(draw >> 8) % (uint32_t)b->ask_count];
    struct plan_spot spot;

    plan_learn(b->plan, ask);
    if (plan_place(b->plan, ask, &spot) < 0) {
        return false;
    }
    plan_take(b->plan, &spot, false, 0);
    b->live[b->live_count++] = (struct slice_at){spot.gpu_id, spot.slice};
    return true;
}

static uint32_t slot_of(const struct bench *b, uint32_t draw)
{
    return (uint32_t)((uint64_t)draw * b->live_count >> 32);
}

static void release_one(struct bench *b, uint32_t draw)
{
    uint32_t i = slot_of(b, draw);

    plan_give_back(b->plan, b->live[i].gpu, b->live[i].slice);
    b->live[i] = b->live[--b->live_count];
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Single decisions with a clock around each; the clock's own time is in it. */
static void time_decisions(struct bench *b, struct bench_row *row)
{
    enum { N = 20000 };
    CLEANUP(freep) int64_t *ns = xcalloc(N, sizeof(*ns));

    for (uint32_t i = 0; i < N; i++) {
        uint32_t draw = b->draws[i % DRAWS];
        release_one(b, b->draws[(i + 7919) % DRAWS]);
        int64_t from = clock_mono_ns();
        place_one(b, draw);
        ns[i] = clock_mono_ns() - from;
        if (b->live_count < b->gpus) {
            place_one(b, draw + 256);
        }
    }
    qsort(ns, N, sizeof(*ns), compare_ns);
    row->place_ns[0] = (double)ns[N / 2];
    row->place_ns[1] = (double)ns[N - N / 100];
    row->place_ns[2] = (double)ns[N - 1];
}

static void take_movable(struct bench *b)
{
    for (uint32_t i = 0; i < b->live_count; i++) {
        plan_give_back(b->plan, b->live[i].gpu, b->live[i].slice);
        plan_take(b->plan, &(struct plan_spot){.gpu_id = b->live[i].gpu, .slice = b->live[i].slice},
                  true, 1);
    }
}

static void write_us(int64_t *ns, int n, double us[3])
{
    if (n) {
        qsort(ns, (size_t)n, sizeof(*ns), compare_ns);
        us[0] = (double)ns[n / 2] / 1e3;
        us[1] = (double)ns[n - 1 - n / 100] / 1e3;
        us[2] = (double)ns[n - 1] / 1e3;
    }
}

/* A draw decides: what fits is placed, what does not is planned.  The plan's time, or 0. */
static int64_t time_one(struct bench *b, const struct plan_ask *ask, unsigned gang,
                        struct plan_set_moves *moves)
{
    struct plan_spot spot;

    if (plan_place(b->plan, ask, &spot) == 0 && !gang) {
        plan_take(b->plan, &spot, true, 1);
        b->live[b->live_count++] = (struct slice_at){spot.gpu_id, spot.slice};
        return 0;
    }
    int64_t from = cpu_ns();
    int r = gang ? plan_find_set_moves(b->plan, ask, gang, 3, moves)
                 : plan_find_moves(b->plan, ask, 3, &moves->moves);
    int64_t took = cpu_ns() - from;
    return r == 0 && !moves->moves.count ? 0 : took;
}

/* Requests that do not fit are planned with up to 3 moves, every slice being movable: single ones,
 * and every second time gangs of two to eight. */
static void time_moves(struct bench *b, struct bench_row *row)
{
    enum { N = 500 };
    CLEANUP(freep) struct plan_set_moves *moves = xcalloc(1, sizeof(*moves));
    CLEANUP(freep) int64_t *ns = xcalloc((size_t)2 * N, sizeof(*ns));
    int count[2] = {0};

    take_movable(b);
    for (uint32_t i = 0; count[0] < N && i < 200000; i++) {
        uint32_t draw = b->draws[i % DRAWS];
        const struct plan_ask *ask = &b->asks[(draw >> 8) % (uint32_t)b->ask_count];
        bool is_gang = i % 2 && count[1] < N;
        int64_t took = time_one(b, ask, is_gang ? 2 + draw % 7 : 0, moves);
        if (took) {
            ns[is_gang * N + count[is_gang]++] = took;
        }
        if (took && !is_gang) {
            release_one(b, b->draws[(i + 31) % DRAWS]);
        }
    }
    write_us(ns, count[0], row->move_us);
    write_us(ns + N, count[1], row->gang_us);
}

static void run_size(const struct options *o, uint32_t gpus, struct bench_row *row)
{
    CLEANUP(freep) struct bench *b = xcalloc(1, sizeof(*b));
    uint64_t ops = 0, tried = 0, placed = 0;
    uint32_t i = 0;

    *row = (struct bench_row){0};
    bench_init(b, o, gpus);
    while (place_one(b, b->draws[i++ % DRAWS])) {
    }
    int64_t from = cpu_ns(), now = from;
    while (now - from < o->seconds * 1000000000) {
        for (int k = 0; k < 4096; k++, i++) {
            release_one(b, b->draws[(i + 7919) % DRAWS]);
            /* Our own list is larger than the plan: have the next entry at hand. */
            __builtin_prefetch(&b->live[slot_of(b, b->draws[(i + 7920) % DRAWS])]);
            bool is_placed = place_one(b, b->draws[i % DRAWS]);
            if (!is_placed && b->live_count < 2 * b->gpus) {
                is_placed = place_one(b, b->draws[(i + 13) % DRAWS]);
            }
            placed += is_placed;
            ops += 1 + is_placed;
            tried++;
        }
        now = cpu_ns();
    }
    row->ops_per_s = (double)ops * 1e9 / (double)(now - from);
    row->accepted = (double)placed / (double)tried;
    row->bytes_per_gpu = (double)plan_memory_bytes(b->plan) / gpus;
    time_decisions(b, row);
    if (gpus <= 10000) {
        time_moves(b, row);
    }
    plan_free(b->plan);
    free(b->live);
}

static int parse(int argc, char **argv, struct options *o, struct error *err)
{
    const struct replay_option table[] = {
        {"model", REPLAY_OPTION_FLEET, &o->fleet, 0, 0, NULL},
        {"size", REPLAY_OPTION_INT, &o->size, 1, 1000000, NULL},
        {"seconds", REPLAY_OPTION_INT, &o->seconds, 1, 3600, NULL},
        {"policy", REPLAY_OPTION_POLICY, &o->policy, 0, 0, NULL},
        {"output", REPLAY_OPTION_WORD, &o->format, 0, 0, replay_formats},
    };
    int r = replay_fleet_parse("H100-SXM5-80GB", &o->fleet, err);

    if (r == 0) {
        r = replay_options_read(argc, argv, table, ARRAY_SIZE(table), usage, err);
    }
    if (r == 0 && o->fleet.count != 1) {
        r = err_set(err, EINVAL, "--model is one model");
    }
    return r;
}

static void print_row(const struct options *o, uint32_t gpus, const struct bench_row *x,
                      bool is_first)
{
    if (o->format == REPLAY_JSON) {
        printf("%s\n {\"gpus\":%u,\"ops_per_s\":%.0f,\"accepted_ratio\":%.4f,"
               "\"bytes_per_gpu\":%.1f,\"decision_ns\":{\"p50\":%.0f,\"p99\":%.0f,\"max\":%.0f},"
               "\"moves_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},"
               "\"gang_moves_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}}",
               is_first ? "[" : ",", gpus, x->ops_per_s, x->accepted, x->bytes_per_gpu,
               x->place_ns[0], x->place_ns[1], x->place_ns[2], x->move_us[0], x->move_us[1],
               x->move_us[2], x->gang_us[0], x->gang_us[1], x->gang_us[2]);
    } else if (o->format == REPLAY_CSV) {
        printf("%s%u,%.0f,%.4f,%.1f,%.0f,%.0f,%.0f,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f\n",
               is_first ? "gpus,ops_per_s,accepted_ratio,bytes_per_gpu,p50_ns,p99_ns,max_ns,"
                          "moves_p50_us,moves_p99_us,moves_max_us,"
                          "gang_moves_p50_us,gang_moves_p99_us,gang_moves_max_us\n"
                        : "",
               gpus, x->ops_per_s, x->accepted, x->bytes_per_gpu, x->place_ns[0], x->place_ns[1],
               x->place_ns[2], x->move_us[0], x->move_us[1], x->move_us[2], x->gang_us[0],
               x->gang_us[1], x->gang_us[2]);
    } else {
        printf("%s%7u  %9.2f  %9.1f  %6.0f  %6.0f  %11.1f  %11.1f  %11.1f  %11.1f\n",
               is_first ? "   GPUS  MILLION/S  BYTES/GPU  P50_NS  P99_NS  MOVE_P50_US  "
                          "MOVE_P99_US  GANG_P50_US  GANG_P99_US\n"
                        : "",
               gpus, x->ops_per_s / 1e6, x->bytes_per_gpu, x->place_ns[0], x->place_ns[1],
               x->move_us[0], x->move_us[1], x->gang_us[0], x->gang_us[1]);
    }
    fflush(stdout);
}

int replay_command_bench(int argc, char **argv)
{
    static const uint32_t sizes[] = {8, 32, 100, 320, 1000, 3200, 10000, 32000, 100000};
    struct options o = {.seconds = 1, .policy = PLAN_ALIGN};
    struct error err = {0};
    int r = parse(argc, argv, &o, &err);

    if (r > 0) {
        return 0;
    }
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes); i++) {
        uint32_t gpus = o.size ? (uint32_t)o.size : sizes[i];
        struct bench_row row;
        run_size(&o, gpus, &row);
        print_row(&o, gpus, &row, i == 0);
        if (o.size) {
            break;
        }
    }
    if (r == 0 && o.format == REPLAY_JSON) {
        puts("\n]");
    }
    return r < 0 ? replay_fail(&err) : 0;
}
