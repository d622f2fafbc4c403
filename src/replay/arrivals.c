/* Load is in memory slots: with E the mean size of a request, lifetimes have the mean
 * load * slots * gpus / E, so that the slots asked for by those present would on average be load
 * times the slots there are.  20 * slots * gpus / E requests arrive; the first fifth warms up and
 * is not counted.
 *
 * With one arrival per time slot a lifetime is 1 + floor(exponential) time slots; who leaves in a
 * slot does so before the slot's arrival.  With Poisson arrivals the gaps are exponential with mean
 * 1, and lifetimes plainly exponential. */
#include "replay/arrivals.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "replay/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The shapes of a mix by compute slices and size in eighths of the memory. */
static const struct {
    uint8_t slices, eighths;
} shapes[REPLAY_SHAPES] = {{1, 1}, {1, 2}, {2, 2}, {3, 4}, {4, 4}, {7, 8}};

const struct replay_mix replay_mixes[REPLAY_MIXES] = {
    {"uniform", 0, {1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0}},
    {"skew-small", 1, {.30, .25, .20, .10, .10, .05}},
    {"skew-big", 2, {.05, .10, .10, .20, .25, .30}},
    {"bimodal", 3, {.30, .15, .05, .05, .15, .30}},
};

/* Shares proportional to exponential draws are uniform among all that add up to 1. */
static int draw_mix(const char *number, struct replay_mix *ret, struct error *err)
{
    struct replay_random random;
    int64_t n = 0;
    int r = text_parse_int(number, "random mix", 0, 1000000, &n, err);

    replay_random_seed(&random, (uint64_t)n);
    for (int i = 0; r == 0 && i < REPLAY_SHAPES; i++) {
        ret->share[i] = replay_random_exp(&random, 1);
    }
    ret->number = REPLAY_MIXES + 1 + (uint32_t)n;
    return r;
}

static int read_shares(const char *text, struct replay_mix *ret, struct error *err)
{
    const char *at = text;

    for (int i = 0; i < REPLAY_SHAPES; i++) {
        char *end = NULL;
        ret->share[i] = strtod(at, &end);
        bool is_good = end != at && *end == (i + 1 < REPLAY_SHAPES ? ',' : '\0');
        if (!is_good || !(ret->share[i] >= 0) || ret->share[i] > 1e9) {
            return err_set(err, EINVAL,
                           "no mix \"%.40s\"; there are uniform, skew-small, skew-big, bimodal, "
                           "random:N, and six shares with commas between",
                           text);
        }
        at = end + 1;
    }
    ret->number = REPLAY_MIXES;
    return 0;
}

int replay_mix_parse(const char *text, struct replay_mix *ret, struct error *err)
{
    struct replay_mix mix = {0};
    double sum = 0;
    int r;

    for (int i = 0; i < REPLAY_MIXES; i++) {
        if (strcmp(text, replay_mixes[i].name) == 0) {
            *ret = replay_mixes[i];
            return 0;
        }
    }
    text_copy(mix.name, sizeof(mix.name), text);
    r = strncmp(text, "random:", 7) == 0 ? draw_mix(text + 7, &mix, err)
                                         : read_shares(text, &mix, err);
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        sum += mix.share[i];
    }
    if (r == 0 && sum <= 0) {
        r = err_set(err, EINVAL, "the shares of a mix must not all be 0");
    }
    for (int i = 0; r == 0 && i < REPLAY_SHAPES; i++) {
        mix.share[i] /= sum;
    }
    for (char *c = mix.name; *c; c++) {
        *c = *c == ',' ? '/' : *c; /* names stand in CSV */
    }
    if (r == 0) {
        *ret = mix;
    }
    return r;
}

/* The plain profile of a shape: no suffix, fewest engines come first in every table. */
static int find_profile(const struct mig_geometry *g, int shape)
{
    for (int p = 0; p < g->profile_count; p++) {
        if (g->profiles[p].slices == shapes[shape].slices &&
            g->profiles[p].size * 8 == shapes[shape].eighths * g->slots &&
            !strpbrk(g->profiles[p].name, "+-")) {
            return p;
        }
    }
    return -1;
}

int replay_arrivals_init(struct replay_arrivals *a, const struct mig_geometry *g, uint32_t gpus,
                         const struct replay_mix *mix, double load, bool is_poisson,
                         struct error *err)
{
    double sum = 0;

    *a = (struct replay_arrivals){.geometry = g, .mix = mix, .is_poisson = is_poisson};
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        a->profile[i] = find_profile(g, i);
        a->share[i] = a->profile[i] < 0 ? 0 : mix->share[i];
        sum += a->share[i];
    }
    if (sum <= 0) {
        return err_set(err, ENOENT, "this model has none of the profiles of the mix");
    }
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        a->share[i] /= sum;
        a->mean_size += a->profile[i] < 0 ? 0 : a->share[i] * g->profiles[a->profile[i]].size;
    }
    double capacity = floor((double)g->slots * gpus / a->mean_size);
    a->mean_life = load * g->slots * gpus / a->mean_size;
    a->mean_stay = is_poisson ? a->mean_life : 1 + 1 / expm1(1 / a->mean_life);
    a->count = 20 * (uint32_t)capacity;
    a->warm = a->count / 5;
    a->list = xcalloc(a->count, sizeof(*a->list));
    return 0;
}

void replay_arrivals_done(struct replay_arrivals *a)
{
    free(a->list);
    a->list = NULL;
}

static int draw_shape(const struct replay_arrivals *a, struct replay_random *random)
{
    double x = replay_random_real(random);
    int shape = 0;

    while (shape < REPLAY_SHAPES - 1 && (x >= a->share[shape] || a->share[shape] <= 0)) {
        x -= a->share[shape++];
    }
    while (a->share[shape] <= 0) {
        shape--;
    }
    return shape;
}

/* The first arrival that is not before `at`. */
static uint32_t first_at(const double *times, uint32_t count, double at)
{
    uint32_t lo = 0, hi = count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (times[mid] < at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < count ? lo : UINT32_MAX;
}

static void draw_poisson(struct replay_arrivals *a, struct replay_random *random)
{
    CLEANUP(freep) double *times = xcalloc(a->count, sizeof(*times));
    CLEANUP(freep) double *ends = xcalloc(a->count, sizeof(*ends));
    double now = 0;

    for (uint32_t i = 0; i < a->count; i++) {
        now += replay_random_exp(random, 1);
        a->list[i].profile = (uint8_t)a->profile[draw_shape(a, random)];
        times[i] = now;
        a->list[i].stay = replay_random_exp(random, a->mean_life);
        ends[i] = now + a->list[i].stay;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        a->list[i].departure = first_at(times, a->count, ends[i]);
    }
}

void replay_arrivals_draw(struct replay_arrivals *a, int run)
{
    struct replay_random random;

    replay_random_seed(&random, 1000003ull * (uint64_t)run + a->mix->number + 7);
    if (a->is_poisson) {
        draw_poisson(a, &random);
        return;
    }
    for (uint32_t t = 0; t < a->count; t++) {
        int shape = draw_shape(a, &random);
        double life = 1 + floor(replay_random_exp(&random, a->mean_life));
        a->list[t].profile = (uint8_t)a->profile[shape];
        a->list[t].stay = life;
        a->list[t].departure = life < a->count - t ? t + (uint32_t)life : UINT32_MAX;
    }
}
