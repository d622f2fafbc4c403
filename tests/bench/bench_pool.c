/* How long the pool takes to decide: bench_pool [ROUNDS].  Figures are nanoseconds of one core; the
 * last column is the ratio to a plain hash lookup of a lease, measured in the same run. */
#include "../pool_world.h"
#include <stdlib.h>
#include <time.h>

#define GPUS 4

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t median_of(int64_t *ns, unsigned count)
{
    qsort(ns, count, sizeof(*ns), compare);
    return ns[count / 2];
}

static void report(const char *what, int64_t *ns, unsigned count, int64_t unit_ns)
{
    int64_t median = median_of(ns, count);

    printf("%-44s median %6ld ns  p99 %6ld ns  x%.0f\n", what, (long)median,
           (long)ns[count * 99 / 100], (double)median / (double)(unit_ns ? unit_ns : 1));
}

static void drain_records(struct pool *pool)
{
    struct pool_record rec;

    while (pool_next_dirty(pool, &rec)) {
        free(rec.body);
    }
}

/* A request of an idle slice, its release, and the look for processes that ends it. */
static void cycle(struct world *w, const struct pool_request *r, bool has_records)
{
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = r, .reply_to = 1,
                           .now_ms = w->now_ms,
                           .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}};
    struct pool_job_result result = {0};
    uint64_t lease = 0;

    pool_step(w->pool, &e, &w->actions);
    for (unsigned i = 0; i < w->actions.count; i++) {
        lease = w->actions.action[i].kind == POOL_DO_REPLY ? w->actions.action[i].lease : lease;
    }
    w->actions.count = 0;
    e.kind = POOL_EV_RELEASE;
    e.lease = lease;
    pool_step(w->pool, &e, &w->actions);
    for (unsigned i = 0; i < w->actions.count; i++) {
        if (w->actions.action[i].kind == POOL_DO_JOB) {
            result.job = w->actions.action[i].job;
        }
    }
    w->actions.count = 0;
    e = (struct pool_event){.kind = POOL_EV_RESULT, .result = &result, .now_ms = w->now_ms};
    pool_step(w->pool, &e, &w->actions);
    w->actions.count = 0;
    if (has_records) {
        drain_records(w->pool);
    }
}

static void setup(struct world *w)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    *w = (struct world){.now_ms = 1000000};
    for (unsigned i = 0; i < GPUS; i++) {
        world_add_gpu(w, "H100-SXM5-80GB", true);
    }
    world_boot(w, &settings);
    world_start(w);
    world_settle(w);
    for (unsigned i = 0; i < 7 * GPUS; i++) { /* every slice leased but three */
        uint64_t id = world_ask(w, "vision", "1g.10gb", (struct pool_request){0});
        world_settle(w);
        if (i % 10 == 9) {
            world_release(w, "vision", id);
            world_settle(w);
        }
    }
}

static int64_t lookup_ns(const struct world *w, unsigned rounds)
{
    volatile uintptr_t sink = 0;
    int64_t begin = now_ns();

    for (unsigned i = 0; i < rounds; i++) {
        sink += (uintptr_t)pool_find_lease(w->pool, 1 + i % 20);
    }
    (void)sink;
    return (now_ns() - begin) / rounds;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20000;
    int64_t *ns = xcalloc(rounds + 1, sizeof(*ns));
    struct pool_request r = {.profile = "1g.10gb", .count = 1};
    struct pool_request large = {.profile = "7g.80gb", .count = 1};
    static struct world w;

    setup(&w);
    mig_want_parse(r.profile, &r.want, NULL);
    mig_want_parse(large.profile, &large.want, NULL);
    int64_t unit = lookup_ns(&w, rounds);
    for (unsigned pass = 0; pass < 4; pass++) {
        static const char *const what[] = {
            "request + release + check, steps alone", "the same with its records as JSON",
            "the same with a key among 1000", "the same with 50 in the queue"};
        char key[32];
        if (pass == 3) {
            for (unsigned i = 0; i < 50; i++) {
                world_ask(&w, "late", "7g.80gb", large);
            }
        }
        for (unsigned i = 0; i < rounds; i++) {
            snprintf(key, sizeof(key), "key-%u-%u", pass, i);
            r.idempotency_key = pass == 2 ? key : NULL;
            int64_t begin = now_ns();
            cycle(&w, &r, pass == 1);
            ns[i] = now_ns() - begin;
            if (i % 64 == 0) {
                drain_records(w.pool);
            }
        }
        report(what[pass], ns, rounds, unit);
    }
    printf("sizes: lease %zu, slice %zu, GPU %zu, action %zu bytes\n", sizeof(struct pool_lease),
           sizeof(struct pool_slice), sizeof(struct pool_gpu), sizeof(struct pool_action));
    free(ns);
    world_done(&w);
    return 0;
}
