/* How long anybody waits at most: a request for whole GPUs against tenants who ask for small slices
 * without end, with a higher priority.  The bounds are those of docs/planner.md.
 *
 *     TANGRAM_SEED=... reproduces a run */
#include "../pool_world.h"
#include "replay/random.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000)
#define STEP (10 * MINUTE)    /* age_step */
#define LONGEST (30 * MINUTE) /* that a lease runs: D */
#define ABOVE 2               /* how much the others' priority is above ours */
#define TENANTS 4
#define QUEUED 4              /* of each in the queue */
#define SLACK (2 * MINUTE)    /* the clock goes by the minute */
#define ANSWER MINUTE         /* how long a holder may take to say whether he moves */
#define MOVES 3               /* leases that may be asked for one request */
#define SLOTS 8               /* of the window that is waited for */
#define RUNNING 64

enum ends { ENDS_KNOWN, ENDS_UNKNOWN, ENDS_MIXED };

struct siege {
    struct world w;
    struct replay_random random;
    enum ends ends;
    bool is_wild; /* some of them move, some ask for several, and tenants have quotas */
    unsigned moved;
    struct {
        uint64_t lease;
        int64_t until_ms; /* 0: it has a ttl */
    } running[RUNNING];
    unsigned running_count;
};

static uint32_t draw(struct siege *s, uint32_t below)
{
    return (uint32_t)(replay_random_next(&s->random) % below);
}

static void begin(struct siege *s, uint64_t seed, enum ends ends, int64_t age_step_ms,
                  unsigned gpus, bool is_wild)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.age_step_ms = age_step_ms;
    settings.max_queued_per_tenant = QUEUED;
    settings.max_moves = is_wild ? MOVES : 0;
    settings.move_answer_ms = ANSWER;
    settings.max_compute_per_tenant = is_wild && seed % 3 == 0 ? 7 * gpus : 0;
    *s = (struct siege){.w = {.now_ms = 1000000000}, .ends = ends, .is_wild = is_wild};
    replay_random_seed(&s->random, seed);
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(&s->w, "H100-SXM5-80GB", true);
    }
    world_run(&s->w, &settings);
}

/* Everybody asks for as much as he may, and again. */
static void ask_for_more(struct siege *s)
{
    static const char *const tenants[TENANTS] = {"a", "b", "c", "d"};
    static const char *const profiles[] = {"1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb"};

    for (unsigned i = 0; i < 3 * TENANTS; i++) {
        bool has_end = s->ends == ENDS_KNOWN || (s->ends == ENDS_MIXED && draw(s, 2));
        int64_t runs_ms = MINUTE + draw(s, (uint32_t)(LONGEST - MINUTE));
        struct pool_request r = {.priority = (int)draw(s, ABOVE + 1),
                                 .ttl_ms = has_end ? runs_ms : 0};
        if (s->is_wild) {
            r.is_movable = draw(s, 3);
            r.count = 1 + !draw(s, 6);
        }
        uint64_t id = world_ask(&s->w, tenants[draw(s, TENANTS)], profiles[draw(s, 5)], r);
        if (id && !has_end && s->running_count < RUNNING) {
            s->running[s->running_count].lease = id;
            s->running[s->running_count++].until_ms = runs_ms; /* from its grant */
        }
        world_settle(&s->w);
    }
}

/* What has no declared end is given back when its time has come, which the pool is not told
 * before. */
static void give_back(struct siege *s)
{
    for (unsigned i = 0; i < s->running_count;) {
        const struct pool_lease *l = pool_find_lease(s->w.pool, s->running[i].lease);
        bool is_over = !l || pool_lease_is_ended(l->state);
        if (l && l->state == POOL_LEASE_ACTIVE &&
            s->w.now_ms >= l->granted_ms + s->running[i].until_ms) {
            assert_int_equal(world_release(&s->w, l->tenant->name, l->id), POOL_OK);
            world_settle(&s->w);
            is_over = true;
        }
        if (is_over) {
            s->running[i] = s->running[--s->running_count];
        } else {
            i++;
        }
    }
}

/* Most agree, some refuse, some say nothing. */
static void answer_moves(struct siege *s)
{
    for (const struct pool_lease *l = pool_next_lease(s->w.pool, NULL); l;
         l = pool_next_lease(s->w.pool, l)) {
        uint32_t what = l->move.phase == POOL_MOVE_ASKED ? draw(s, 6) : 5;
        if (what == 5) {
            continue;
        }
        struct pool_event e = {.kind = POOL_EV_MOVE, .lease = l->id, .is_confirmed = what < 4,
                               .reply_to = ++s->w.next_cookie,
                               .actor = {.tenant = l->tenant->name, .role = POOL_ROLE_TENANT}};
        s->moved += what < 4;
        world_step(&s->w, &e);
        assert_int_equal(s->w.reply.answer, POOL_OK);
    }
    world_settle(&s->w);
}

static void pass_a_minute(struct siege *s)
{
    world_wait(&s->w, MINUTE);
    world_settle(&s->w);
    answer_moves(s);
    give_back(s);
    ask_for_more(s);
}

struct wait {
    int64_t total_ms, as_head_ms; /* until it started, or the siege was over */
    unsigned ahead;               /* when nobody could get in before it any more */
    bool is_served;
};

static struct wait besiege(struct siege *s, const char *profile, unsigned count, int64_t at_most_ms)
{
    struct wait ret = {0};
    int64_t head_since = 0;

    for (unsigned i = 0; i < 60; i++) {
        pass_a_minute(s);
    }
    int64_t asked = s->w.now_ms;
    uint64_t id = world_ask(&s->w, "big", profile, (struct pool_request){.count = count});
    const struct pool_lease *l = pool_find_lease(s->w.pool, id);
    assert_non_null(l);
    while (l->state == POOL_LEASE_QUEUED && s->w.now_ms - asked < at_most_ms) {
        bool is_alone = s->w.now_ms > asked + ABOVE * STEP;
        unsigned position = pool_queue_position(s->w.pool, l);
        if (!is_alone) {
            ret.ahead = position - 1;
        } else if (position == 1 && !head_since) {
            head_since = s->w.now_ms;
        }
        pass_a_minute(s);
    }
    ret.is_served = l->state != POOL_LEASE_QUEUED;
    ret.total_ms = s->w.now_ms - asked;
    ret.as_head_ms = head_since ? s->w.now_ms - head_since : 0;
    return ret;
}

static uint64_t first_seed(void)
{
    const char *seed = getenv("TANGRAM_SEED");

    return seed ? strtoull(seed, NULL, 10) : 20261122;
}

static unsigned check_bound(enum ends ends, int64_t per_head_ms, bool is_wild)
{
    int64_t longest = 0, longest_as_head = 0;
    unsigned moved = 0;

    per_head_ms += is_wild ? 2 * ANSWER : 0; /* room is being made, and then it is not */

    for (uint64_t seed = first_seed(); seed < first_seed() + 12; seed++) {
        unsigned gpus = 1 + (unsigned)(seed % 2);
        struct siege s;
        begin(&s, seed, ends, STEP, gpus, is_wild);
        struct wait wait = besiege(&s, "7g.80gb", gpus, 10000 * MINUTE);
        int64_t bound = ABOVE * STEP + (wait.ahead + 1) * (per_head_ms + SLACK);
        if (!wait.is_served || wait.total_ms > bound || wait.as_head_ms > per_head_ms + SLACK) {
            fail_msg("seed %" PRIu64 ": waited %" PRId64 " min, as head %" PRId64 " min, with %u "
                     "ahead; the bounds are %" PRId64 " and %" PRId64, seed, wait.total_ms / MINUTE,
                     wait.as_head_ms / MINUTE, wait.ahead, bound / MINUTE,
                     (per_head_ms + SLACK) / MINUTE);
        }
        moved += s.moved;
        longest = wait.total_ms > longest ? wait.total_ms : longest;
        longest_as_head = wait.as_head_ms > longest_as_head ? wait.as_head_ms : longest_as_head;
        world_done(&s.w);
    }
    print_message("longest wait %" PRId64 " min, as head %" PRId64 " min; %u moved\n",
                  longest / MINUTE, longest_as_head / MINUTE, moved);
    return moved;
}

static void declared_ends_bound_the_wait(void **state)
{
    (void)state;
    check_bound(ENDS_KNOWN, LONGEST, false);
}

static void a_cordoned_window_drains(void **state)
{
    (void)state;
    check_bound(ENDS_UNKNOWN, SLOTS * LONGEST, false);
}

static void some_declared_ends_do_not_hurt(void **state)
{
    (void)state;
    check_bound(ENDS_MIXED, (SLOTS + 1) * LONGEST, false);
}

/* Among leases that move for others, gangs, and tenants who come up against their quota. */
static void a_wild_siege_is_over_in_time(void **state)
{
    (void)state;
    unsigned moved = check_bound(ENDS_KNOWN, LONGEST, true);
    moved += check_bound(ENDS_UNKNOWN, SLOTS * LONGEST, true);
    moved += check_bound(ENDS_MIXED, (SLOTS + 1) * LONGEST, true);
    assert_true(moved > 10);
}

/* The same siege without ageing is never over. */
static void without_ageing_it_is_never_served(void **state)
{
    struct siege s;
    (void)state;
    begin(&s, first_seed(), ENDS_KNOWN, 0, 1, false);
    struct wait wait = besiege(&s, "7g.80gb", 1,
                               ABOVE * STEP + (TENANTS * QUEUED + 1) * (LONGEST + SLACK));
    assert_false(wait.is_served);
    world_done(&s.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declared_ends_bound_the_wait),
        cmocka_unit_test(a_cordoned_window_drains),
        cmocka_unit_test(some_declared_ends_do_not_hurt),
        cmocka_unit_test(a_wild_siege_is_over_in_time),
        cmocka_unit_test(without_ageing_it_is_never_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
