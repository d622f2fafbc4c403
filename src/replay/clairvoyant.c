/* The clairvoyant bound: a linear program over the whole trace.
 *
 *   most of  sum over visits j of weight[j] * x[j],  0 <= x[j] <= 1
 *   at every time t, for every face f of the fleet's polytope:
 *       sum over the j present at t of price[f][kind of j] * x[j] <= 1
 *
 * Times are those arrivals after which somebody leaves before the next one comes; at others fewer
 * are present.  Faces are found by asking the polytope: first in many directions, then at the times
 * where the solution turns out to lie outside.  Leaving one out makes the bound weaker, not wrong.
 *
 * The program is too large for a tableau (a hundred thousand rows for a few thousand requests) but
 * has a plain structure: a visit is present over a run of times, so a product with the matrix is
 * two running sums.  It is solved by the primal-dual hybrid gradient method (Chambolle and Pock
 * 2011) with their diagonal steps, restarted from its average as in PDLP (Applegate et al. 2021):
 *
 *   x <- clip(x + (weight - prices over the visit) / column sum / omega)
 *   y <- max(0, y + (load(2 x - x before) - 1) * omega / row sum)
 *
 * Any y >= 0 gives a bound, sum(y) + sum over j of max(0, weight[j] - prices over the visit), so
 * what is returned holds however far the method came.  x divided by its largest load can be had,
 * and says how far that was. */
#include "replay/clairvoyant.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FACES_MAX 256
#define CHECK_EVERY 50

struct job {
    uint32_t from, to; /* times */
    uint32_t kind;
    double weight;
};

/* One point of the iteration. */
struct point {
    double *x; /* by job */
    double *y; /* [time * face_count + face] */
};

struct program {
    const struct replay_polytope *polytope;
    size_t kinds, job_count, time_count, face_count;
    double work_until; /* no more is spent on looking for faces */
    struct job *jobs;
    struct replay_face faces[FACES_MAX];
    double free_weight; /* of those who hold nothing */
    /* Work space. */
    double *load;  /* [(time + 1) * kinds + kind]: counts */
    double *price; /* [(time + 1) * kinds + kind]: running sums */
    double *column_sum, *row_sum;
    struct point now, mean, start; /* mean: since the restart */
    double *ahead;                 /* 2 x - x before */
    double omega;
    uint32_t since_start;
    double best_value, best_attained;
};

/* --- products --- */

/* Counts by time and kind. */
static void sum_load(struct program *p, const double *x)
{
    size_t k = p->kinds;

    memset(p->load, 0, (p->time_count + 1) * k * sizeof(*p->load));
    for (size_t j = 0; j < p->job_count; j++) {
        p->load[p->jobs[j].from * k + p->jobs[j].kind] += x[j];
        p->load[p->jobs[j].to * k + p->jobs[j].kind] -= x[j];
    }
    for (size_t i = k; i < p->time_count * k; i++) {
        p->load[i] += p->load[i - k];
    }
}

static double face_load(const struct program *p, size_t time, size_t face)
{
    const double *n = &p->load[time * p->kinds], *price = p->faces[face].price;
    double sum = 0;

    for (size_t q = 0; q < p->kinds; q++) {
        sum += n[q] * price[q];
    }
    return sum;
}

/* Running sums of the prices that y puts on each kind. */
static void sum_prices(struct program *p, const double *y)
{
    size_t k = p->kinds;

    memset(p->price, 0, k * sizeof(*p->price));
    for (size_t t = 0; t < p->time_count; t++) {
        double *sum = &p->price[(t + 1) * k];
        memcpy(sum, sum - k, k * sizeof(*sum));
        for (size_t f = 0; f < p->face_count; f++) {
            double by = y[t * p->face_count + f];
            for (size_t q = 0; by > 0 && q < k; q++) {
                sum[q] += by * p->faces[f].price[q];
            }
        }
    }
}

static double paid(const struct program *p, size_t j)
{
    const struct job *v = &p->jobs[j];

    return p->price[v->to * p->kinds + v->kind] - p->price[v->from * p->kinds + v->kind];
}

/* --- how good a point is --- */

static double bound_of(struct program *p, const double *y)
{
    double sum = 0;

    sum_prices(p, y);
    for (size_t i = 0; i < p->time_count * p->face_count; i++) {
        sum += y[i];
    }
    for (size_t j = 0; j < p->job_count; j++) {
        sum += fmax(0, p->jobs[j].weight - paid(p, j));
    }
    return sum;
}

static double attained_by(struct program *p, const double *x)
{
    double sum = 0, most = 1;

    sum_load(p, x);
    for (size_t t = 0; t < p->time_count; t++) {
        for (size_t f = 0; f < p->face_count; f++) {
            most = fmax(most, face_load(p, t, f));
        }
    }
    for (size_t j = 0; j < p->job_count; j++) {
        sum += p->jobs[j].weight * x[j];
    }
    return sum / most;
}

/* --- the iteration --- */

static void step(struct program *p)
{
    double *x = p->now.x, *y = p->now.y;

    sum_prices(p, y);
    for (size_t j = 0; j < p->job_count; j++) {
        double to = x[j] + (p->jobs[j].weight - paid(p, j)) / (p->column_sum[j] * p->omega);
        to = fmin(fmax(to, 0), 1);
        p->ahead[j] = 2 * to - x[j];
        x[j] = to;
    }
    sum_load(p, p->ahead);
    for (size_t t = 0; t < p->time_count; t++) {
        for (size_t f = 0; f < p->face_count; f++) {
            size_t i = t * p->face_count + f;
            y[i] = fmax(0, y[i] + (face_load(p, t, f) - 1) * p->omega / p->row_sum[i]);
        }
    }
    double share = 1.0 / ++p->since_start;
    for (size_t j = 0; j < p->job_count; j++) {
        p->mean.x[j] += (x[j] - p->mean.x[j]) * share;
    }
    for (size_t i = 0; i < p->time_count * p->face_count; i++) {
        p->mean.y[i] += (y[i] - p->mean.y[i]) * share;
    }
}

/* Distances in the metric of the steps, for the balance between x and y. */
static void rebalance(struct program *p)
{
    double dx = 0, dy = 0;

    for (size_t j = 0; j < p->job_count; j++) {
        double d = p->now.x[j] - p->start.x[j];
        dx += p->column_sum[j] * d * d;
    }
    for (size_t i = 0; i < p->time_count * p->face_count; i++) {
        double d = p->now.y[i] - p->start.y[i];
        dy += p->row_sum[i] * d * d;
    }
    if (dx > 1e-20 && dy > 1e-20) {
        p->omega = sqrt(p->omega * sqrt(dy / dx));
    }
}

static void restart(struct program *p)
{
    size_t rows = p->time_count * p->face_count;

    memcpy(p->start.x, p->now.x, p->job_count * sizeof(double));
    memcpy(p->start.y, p->now.y, rows * sizeof(double));
    memset(p->mean.x, 0, p->job_count * sizeof(double));
    memset(p->mean.y, 0, rows * sizeof(double));
    p->since_start = 0;
}

/* Notes what a point is good for and returns its gap. */
static double judge(struct program *p, const struct point *at)
{
    double value = bound_of(p, at->y), attained = attained_by(p, at->x);

    p->best_value = fmin(p->best_value, value);
    p->best_attained = fmax(p->best_attained, attained);
    return value - attained;
}

/* Until the gap is small or the rounds are used up; returns the rounds used. */
static uint32_t iterate(struct program *p, double tolerance, uint32_t most_rounds)
{
    double start_gap = INFINITY;
    uint32_t n = 0;

    restart(p);
    while (n < most_rounds) {
        for (int i = 0; i < CHECK_EVERY; i++, n++) {
            step(p);
        }
        double now = judge(p, &p->now), mean = judge(p, &p->mean);
        if (p->best_value - p->best_attained <= tolerance * p->best_value) {
            break;
        }
        double gap = fmin(now, mean);
        if (gap <= 0.3 * start_gap || p->since_start > 0.4 * n) {
            if (mean < now) {
                memcpy(p->now.x, p->mean.x, p->job_count * sizeof(double));
                memcpy(p->now.y, p->mean.y, p->time_count * p->face_count * sizeof(double));
            }
            rebalance(p);
            restart(p);
            start_gap = gap;
        }
    }
    return n;
}

/* --- faces --- */

/* Where the best point found lies outside the polytope although it obeys all faces known.  Not for
 * ever: each face cuts off little where many matter. */
static bool find_more_faces(struct program *p)
{
    bool has_new = false;

    sum_load(p, p->now.x);
    for (size_t t = 0; t < p->time_count; t++) {
        double n[REPLAY_KINDS_MAX];
        struct replay_face face = {{0}};
        if (replay_polytope_work(p->polytope) > p->work_until) {
            break;
        }
        for (size_t q = 0; q < p->kinds; q++) {
            n[q] = fmax(p->load[t * p->kinds + q], 0) + 1e-6;
        }
        if (replay_polytope_stretch(p->polytope, n, &face) < 1 - 1e-3) {
            has_new =
                replay_face_add(p->faces, &p->face_count, FACES_MAX, p->kinds, &face) || has_new;
        }
    }
    return has_new;
}

/* --- setting up --- */

/* Times are those arrivals that are followed by a departure before the next arrival. */
static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* The first of the times that is not before `at`. */
static uint32_t first_time(const int64_t *times, size_t count, int64_t at)
{
    size_t lo = 0, hi = count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (times[mid] < at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return (uint32_t)lo;
}

static size_t find_times(const struct replay_visit *visits, size_t count, int64_t *times)
{
    CLEANUP(freep) int64_t *ends = xcalloc(count + 1, sizeof(*ends));
    size_t n = 0, ended = 0;

    for (size_t j = 0; j < count; j++) {
        ends[j] = visits[j].to;
    }
    if (count) {
        qsort(ends, count, sizeof(*ends), compare_times);
    }
    for (size_t j = 0; j < count; j++) {
        while (ended < count && ends[ended] <= visits[j].from) {
            ended++;
        }
        if (j + 1 == count || (ended < count && ends[ended] <= visits[j + 1].from)) {
            times[n++] = visits[j].from;
        }
    }
    return n;
}

static void take_jobs(struct program *p, const struct replay_visit *visits, size_t count)
{
    CLEANUP(freep) int64_t *times = xcalloc(count + 1, sizeof(*times));

    p->jobs = xcalloc(count + 1, sizeof(*p->jobs));
    p->time_count = find_times(visits, count, times);
    for (size_t j = 0; j < count; j++) {
        const struct replay_visit *v = &visits[j];
        if (v->weight <= 0) {
            continue;
        }
        struct job job = {first_time(times, p->time_count, v->from),
                          first_time(times, p->time_count, v->to), v->kind, v->weight};
        if (job.from < job.to) {
            p->jobs[p->job_count++] = job;
        } else {
            p->free_weight += v->weight;
        }
    }
}

static void sum_steps(struct program *p)
{
    for (size_t j = 0; j < p->job_count; j++) {
        const struct job *v = &p->jobs[j];
        p->column_sum[j] = 0;
        for (size_t f = 0; f < p->face_count; f++) {
            p->column_sum[j] += (v->to - v->from) * p->faces[f].price[v->kind];
        }
        p->ahead[j] = 1;
    }
    sum_load(p, p->ahead);
    for (size_t t = 0; t < p->time_count; t++) {
        for (size_t f = 0; f < p->face_count; f++) {
            p->row_sum[t * p->face_count + f] = fmax(face_load(p, t, f), 1e-9);
        }
    }
}

static struct point make_point(size_t jobs, size_t rows)
{
    return (struct point){xcalloc(jobs + 1, sizeof(double)), xcalloc(rows + 1, sizeof(double))};
}

static void allocate(struct program *p)
{
    size_t rows = p->time_count * p->face_count, cells = (p->time_count + 1) * (p->kinds + 1);

    p->load = xcalloc(cells, sizeof(double));
    p->price = xcalloc(cells, sizeof(double));
    p->column_sum = xcalloc(p->job_count + 1, sizeof(double));
    p->row_sum = xcalloc(rows + 1, sizeof(double));
    p->ahead = xcalloc(p->job_count + 1, sizeof(double));
    p->now = make_point(p->job_count, rows);
    p->mean = make_point(p->job_count, rows);
    p->start = make_point(p->job_count, rows);
    p->omega = 1;
    p->best_value = INFINITY;
    p->best_attained = 0;
    sum_steps(p);
}

static void release(struct program *p)
{
    const struct point *points[] = {&p->now, &p->mean, &p->start};

    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        free(points[i]->x);
        free(points[i]->y);
    }
    free(p->load);
    free(p->price);
    free(p->column_sum);
    free(p->row_sum);
    free(p->ahead);
}

void replay_clairvoyant_bound(const struct replay_polytope *polytope, size_t kinds,
                              const struct replay_visit *visits, size_t count, double tolerance,
                              uint32_t most_rounds, struct replay_clairvoyant *ret)
{
    CLEANUP(freep) struct program *p = xcalloc(1, sizeof(*p));
    bool is_open = true;

    *ret = (struct replay_clairvoyant){.value = INFINITY};
    p->polytope = polytope;
    p->kinds = kinds;
    take_jobs(p, visits, count);
    p->face_count = replay_polytope_faces(polytope, p->faces, FACES_MAX);
    p->work_until = replay_polytope_work(polytope) + REPLAY_FACES_WORK;
    while (is_open) {
        allocate(p);
        ret->rounds += iterate(p, tolerance, most_rounds - ret->rounds);
        ret->value = fmin(ret->value, p->best_value + p->free_weight);
        ret->attained = p->best_attained + p->free_weight;
        is_open = ret->rounds < most_rounds && find_more_faces(p);
        release(p);
    }
    free(p->jobs);
}
