/* Batches: a configuration program, solved by branch and bound.
 *
 * GPUs that look alike (class, what is busy, which idle slices) form a type.  A column is one way
 * to fill a GPU of a type: how many of each want it takes in, and what that costs; only columns
 * that no other one beats are kept.  The linear program chooses how often each column is used:
 *
 *   most of  BIG * (served slots) - costs
 *   served[w] <= sum over columns of what they take of w;  served[w] <= wanted[w]
 *   uses of the columns of a type <= GPUs of the type
 *
 * Its optimum bounds every real solution: if it cannot serve all, nothing can.  A fractional answer
 * is branched on.  First how many GPUs of a type are used, those that would be opened before
 * others; then how many of a want a type serves; and only then how often one column is used: there
 * are many columns that do nearly the same, so that to forbid one changes little.  Columns that are
 * too dear at the first program's prices to be in anything better are left out.  Costs are whole
 * numbers (COST_OPEN for an empty GPU, 1 for an idle slice destroyed), so a bound is rounded up, to
 * a multiple of COST_OPEN when no idle slices are about; for slices on GPUs that closes the gap
 * nearly always at once. */
#include "plan/batch.h"
#include "plan/fleet.h"
#include "plan/lp.h"
#include <assert.h>
#include <math.h>
#include <string.h>

#define COST_OPEN 1024
#define COLUMNS_MAX 20000
#define TYPES_MAX 4096
#define NO_LIMIT UINT32_MAX

struct column {
    uint32_t type;
    uint32_t cost;
    uint8_t takes[PLAN_BATCH_WANTS_MAX];
    uint8_t count;
    struct mig_slice slices[MIG_SLOTS_MAX];
    uint8_t wants[MIG_SLOTS_MAX]; /* which want each slice serves */
};

struct type {
    uint32_t gpu; /* one of its GPUs, the lowest */
    uint32_t count;
    uint32_t first_column, column_count;
};

struct batch {
    const struct plan *plan;
    const struct plan_batch_want *wants;
    size_t want_count;
    uint32_t type_count, column_count, column_size;
    uint32_t *type_of; /* by GPU */
    struct type *types;
    struct column *columns;
    bool has_idle;
    /* Branch and bound: columns are used at least `low` and at most `high` times, and so are sums
     * of them (NO_LIMIT: any number). */
    uint32_t *low, *high, *sum_low, *sum_high;
    uint32_t *at;    /* by column: its number in the linear program, NO_LIMIT none */
    uint32_t at_count;
    uint32_t nodes, node_limit;
    int64_t best_cost, root_bound;
    double root_cost, *root_dual; /* of the first program; prices for the wants, twice, and types */
    uint32_t *best_uses;
    bool is_cut_short;
    bool takes_any; /* the first that serves everybody will do */
};

/* --- types --- */

static bool same_idle(const struct plan *p, uint32_t a, uint32_t b)
{
    const struct plan_detail *da = plan_gpu_detail(p, a), *db = plan_gpu_detail(p, b);
    int na = da ? da->idle_count : 0, nb = db ? db->idle_count : 0;

    return na == nb &&
           (na == 0 || memcmp(da->idle, db->idle, (size_t)na * sizeof(da->idle[0])) == 0);
}

static int find_types(struct batch *b)
{
    const struct plan *p = b->plan;

    b->type_of = xcalloc(p->gpu_count + 1, sizeof(*b->type_of));
    b->types = xcalloc(TYPES_MAX, sizeof(*b->types));
    for (uint32_t gpu = 0; gpu < p->gpu_count; gpu++) {
        b->type_of[gpu] = UINT32_MAX;
        if (!plan_has_gpu(p, gpu) || !plan_is_usable(p, gpu)) {
            continue;
        }
        uint32_t t = 0;
        while (t < b->type_count && (plan_gpu_class(p, b->types[t].gpu) != plan_gpu_class(p, gpu) ||
                                     plan_gpu_state(p, b->types[t].gpu) != plan_gpu_state(p, gpu) ||
                                     !same_idle(p, b->types[t].gpu, gpu))) {
            t++;
        }
        if (t == TYPES_MAX) {
            return -E2BIG;
        }
        if (t == b->type_count) {
            b->types[b->type_count++].gpu = gpu;
        }
        b->types[t].count++;
        b->type_of[gpu] = t;
        b->has_idle =
            b->has_idle || (plan_gpu_detail(p, gpu) && plan_gpu_detail(p, gpu)->idle_count);
    }
    return 0;
}

/* --- columns --- */

struct fill {
    struct batch *batch;
    uint32_t type;
    struct mig_use use;
    struct column now;
    int r;
};

/* Idle slices destroyed by the slices of a column; one that is wanted as it is stays. */
static uint32_t destroyed_by(const struct plan *p, uint32_t gpu, const struct column *c,
                             uint16_t *ret_bits, uint16_t *ret_kept)
{
    const struct plan_detail *d = plan_gpu_detail(p, gpu);
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t bits = 0, kept = 0;

    for (int i = 0; i < c->count; i++) {
        uint16_t touched =
            plan_idle_touched(p, gpu, mig_window(g, c->slices[i].profile, c->slices[i].start));
        for (int k = 0; d && touched && k < d->idle_count; k++) {
            if (d->idle[k].profile == c->slices[i].profile &&
                d->idle[k].start == c->slices[i].start) {
                touched = 0;
                kept |= (uint16_t)(1u << i);
            }
        }
        bits |= touched;
    }
    *ret_bits = bits;
    *ret_kept = kept;
    return (uint32_t)__builtin_popcount(bits);
}

static bool beats(const struct column *a, const struct column *b, size_t wants)
{
    for (size_t w = 0; w < wants; w++) {
        if (a->takes[w] < b->takes[w]) {
            return false;
        }
    }
    return a->cost <= b->cost;
}

static void keep_column(struct fill *f)
{
    struct batch *b = f->batch;
    struct type *t = &b->types[f->type];
    struct column c = f->now;
    uint16_t bits, kept;
    uint32_t n = t->first_column;

    c.type = f->type;
    c.cost = destroyed_by(b->plan, t->gpu, &c, &bits, &kept) +
             (plan_gpu_busy(b->plan, t->gpu)->mask ? 0 : COST_OPEN);
    for (uint32_t i = t->first_column; i < b->column_count; i++) {
        if (beats(&b->columns[i], &c, b->want_count)) {
            return;
        }
    }
    for (uint32_t i = t->first_column; i < b->column_count; i++) {
        if (!beats(&c, &b->columns[i], b->want_count)) {
            b->columns[n++] = b->columns[i];
        }
    }
    b->column_count = n;
    if (n == COLUMNS_MAX) {
        f->r = -E2BIG;
        return;
    }
    if (n == b->column_size) {
        b->column_size = b->column_size ? 2 * b->column_size : 256;
        b->columns = xreallocarray(b->columns, b->column_size, sizeof(*b->columns));
    }
    b->columns[b->column_count++] = c;
}

static void fill_from(struct fill *f, int slot) /* NOLINT(misc-no-recursion) */
{
    struct batch *b = f->batch;
    int class_id = plan_gpu_class(b->plan, b->types[f->type].gpu);
    const struct mig_geometry *g = &b->plan->classes[class_id]->index.geometry;
    bool is_full = true;

    for (int s = slot; f->r == 0 && s < g->slots; s++) {
        for (size_t w = 0; w < b->want_count; w++) {
            int p = b->wants[w].ask.profile[class_id];
            if (p < 0 || !mig_fits(g, &f->use, p, s) || f->now.takes[w] >= b->wants[w].count) {
                continue;
            }
            is_full = false;
            mig_use_add(g, &f->use, p, s);
            f->now.slices[f->now.count] = (struct mig_slice){(uint8_t)p, (uint8_t)s};
            f->now.wants[f->now.count++] = (uint8_t)w;
            f->now.takes[w]++;
            fill_from(f, s + g->profiles[p].size);
            f->now.takes[w]--;
            f->now.count--;
            mig_use_remove(g, &f->use, p, s);
        }
    }
    /* Without idle slices only full layouts count: they beat what they contain. */
    if (f->r == 0 && f->now.count && (is_full || b->has_idle)) {
        keep_column(f);
    }
}

/* --- sums of columns that are branched on --- */

/* By type: the GPUs in use, and what they serve of each want. */

static uint32_t sum_count(const struct batch *b)
{
    return b->type_count * (uint32_t)(b->want_count + 1);
}

static uint32_t type_of_sum(const struct batch *b, uint32_t sum)
{
    return sum / (uint32_t)(b->want_count + 1);
}

/* What one use of a column of the type counts in the sum. */
static uint32_t counts_in(const struct batch *b, uint32_t sum, uint32_t column)
{
    uint32_t want = sum % (uint32_t)(b->want_count + 1);

    return want ? b->columns[column].takes[want - 1] : 1;
}

static int find_columns(struct batch *b)
{
    for (uint32_t t = 0; t < b->type_count; t++) {
        struct fill f = {.batch = b, .type = t};
        f.use = *plan_gpu_busy(b->plan, b->types[t].gpu);
        b->types[t].first_column = b->column_count;
        fill_from(&f, 0);
        if (f.r < 0) {
            return f.r;
        }
        b->types[t].column_count = b->column_count - b->types[t].first_column;
    }
    b->low = xcalloc(b->column_count + 1, sizeof(*b->low));
    b->high = xcalloc(b->column_count + 1, sizeof(*b->high));
    b->best_uses = xcalloc(b->column_count + 1, sizeof(*b->best_uses));
    b->at = xcalloc(b->column_count + 1, sizeof(*b->at));
    b->sum_low = xcalloc(sum_count(b) + 1, sizeof(*b->sum_low));
    b->sum_high = xcalloc(sum_count(b) + 1, sizeof(*b->sum_high));
    memset(b->sum_high, 0xff, sum_count(b) * sizeof(*b->sum_high));
    for (uint32_t c = 0; c < b->column_count; c++) {
        b->high[c] = b->types[b->columns[c].type].count;
    }
    return 0;
}

/* --- the linear program --- */

/* Rows and columns that limits of sums take. */
static void count_sums(const struct batch *b, size_t *ret_lows, size_t *ret_highs)
{
    *ret_lows = *ret_highs = 0;
    for (uint32_t i = 0; i < sum_count(b); i++) {
        *ret_lows += b->sum_low[i] > 0;
        *ret_highs += b->sum_high[i] != NO_LIMIT;
    }
}

/* A sum that must be so much is one more want, which its columns serve.  The last rows and columns
 * are for sums. */
static void build_sums(const struct batch *b, struct plan_lp *lp, size_t row, size_t col,
                       double big)
{
    for (uint32_t i = 0; i < sum_count(b); i++) {
        const struct type *t = &b->types[type_of_sum(b, i)];
        size_t low_row = row, high_row = row + 2 * (b->sum_low[i] > 0);
        bool has_high = b->sum_high[i] != NO_LIMIT;
        for (uint32_t c = t->first_column;
             (b->sum_low[i] || has_high) && c < t->first_column + t->column_count; c++) {
            double n = counts_in(b, i, c);
            if (b->at[c] == NO_LIMIT) {
                continue;
            }
            if (b->sum_low[i]) {
                lp->a[low_row * lp->cols + b->at[c]] = -n;
                lp->b[low_row] += n * b->low[c];
            }
            if (has_high) {
                lp->a[high_row * lp->cols + b->at[c]] = n;
                lp->b[high_row] -= n * b->low[c];
            }
        }
        if (b->sum_low[i]) {
            lp->a[low_row * lp->cols + col] = 1;
            lp->a[(low_row + 1) * lp->cols + col] = 1;
            lp->b[low_row + 1] = b->sum_low[i];
            lp->c[col++] = big;
        }
        if (has_high) {
            lp->b[high_row] += b->sum_high[i];
        }
        row = high_row + has_high;
    }
}

/* Rows: for each want its supply and its demand; for each type its GPUs; for each column that was
 * branched on its upper limit.  Lower limits of columns are taken off beforehand. */
static void build(struct batch *b, struct plan_lp *lp, double big)
{
    size_t w_count = b->want_count, n = 0, extra = 0, row;
    size_t lows = 0, highs = 0;

    for (uint32_t c = 0; c < b->column_count; c++) {
        b->at[c] = b->high[c] ? (uint32_t)n++ : NO_LIMIT; /* what is not used needs no column */
        extra += b->high[c] && b->high[c] < b->types[b->columns[c].type].count;
    }
    b->at_count = (uint32_t)n;
    count_sums(b, &lows, &highs);
    row = 2 * w_count + b->type_count + extra;
    *lp = plan_lp_new(row + 2 * lows + highs, n + w_count + lows);
    build_sums(b, lp, row, n + w_count, big);
    for (size_t w = 0; w < w_count; w++) {
        lp->a[w * lp->cols + n + w] = 1;
        lp->a[(w_count + w) * lp->cols + n + w] = 1;
        lp->b[w_count + w] = b->wants[w].count;
        lp->c[n + w] = big;
    }
    for (uint32_t t = 0; t < b->type_count; t++) {
        lp->b[2 * w_count + t] = b->types[t].count;
    }
    row = 2 * w_count + b->type_count;
    for (uint32_t c = 0; c < b->column_count; c++) {
        const struct column *col = &b->columns[c];
        uint32_t at = b->at[c];
        if (at == NO_LIMIT) {
            continue;
        }
        for (size_t w = 0; w < w_count; w++) {
            lp->a[w * lp->cols + at] = -(double)col->takes[w];
            lp->b[w] += (double)col->takes[w] * b->low[c];
        }
        lp->a[(2 * w_count + col->type) * lp->cols + at] = 1;
        lp->b[2 * w_count + col->type] -= b->low[c];
        lp->c[at] = -(double)col->cost;
        if (b->high[c] < b->types[col->type].count) {
            lp->a[row * lp->cols + at] = 1;
            lp->b[row++] = b->high[c] - b->low[c];
        }
    }
}

/* Solves the program of the node.  1: `x` serves all and costs at least *ret_bound, *ret_cost as it
 * is; 0: nothing does; <0: not solved.  ret_dual (may be NULL): for the wants, twice, and types. */
static int relax(struct batch *b, double *x, int64_t *ret_bound, double *ret_cost, double *ret_dual)
{
    struct plan_lp lp;
    double value = 0, total = 0, served = 0, cost = 0;
    double big = 4.0 * COST_OPEN * (1 + (double)b->plan->gpu_count);
    int r;

    build(b, &lp, big);
    for (size_t i = 0; i < lp.rows; i++) {
        if (lp.b[i] < 0) { /* more lower limits than GPUs */
            plan_lp_done(&lp);
            return 0;
        }
    }
    CLEANUP(freep) double *y = xcalloc(lp.cols + 1, sizeof(*y));
    r = plan_lp_solve(&lp, &value, y, ret_dual);
    plan_lp_done(&lp);
    b->nodes++;
    if (r < 0) {
        return r;
    }
    for (size_t w = 0; w < b->want_count; w++) {
        total += b->wants[w].count;
        served += y[b->at_count + w];
    }
    size_t lows = 0;
    for (uint32_t i = 0; i < sum_count(b); i++) {
        total += b->sum_low[i];
        served += b->sum_low[i] ? y[b->at_count + b->want_count + lows++] : 0;
    }
    for (uint32_t c = 0; c < b->column_count; c++) {
        x[c] = b->low[c] + (b->at[c] == NO_LIMIT ? 0 : y[b->at[c]]);
        cost += x[c] * b->columns[c].cost;
    }
    *ret_cost = cost;
    int64_t unit = b->has_idle ? 1 : COST_OPEN;
    *ret_bound = (int64_t)ceil(cost / (double)unit - 1e-6) * unit;
    return served > total - 1e-6;
}

/* --- branch and bound --- */

/* Does using each column this often serve everybody?  Then it may be the best so far. */
static bool offer(struct batch *b, const uint32_t *uses)
{
    int64_t cost = 0;

    for (size_t w = 0; w < b->want_count; w++) {
        uint64_t n = 0;
        for (uint32_t c = 0; c < b->column_count; c++) {
            n += (uint64_t)uses[c] * b->columns[c].takes[w];
        }
        if (n < b->wants[w].count) {
            return false;
        }
    }
    for (uint32_t c = 0; c < b->column_count; c++) {
        cost += (int64_t)uses[c] * b->columns[c].cost;
    }
    if (cost < b->best_cost) {
        b->best_cost = cost;
        memcpy(b->best_uses, uses, b->column_count * sizeof(*uses));
    }
    return true;
}

/* Rounds up greedily: whole parts first, then the column that serves most of what is missing for
 * its cost, as long as there are GPUs. */
static void round_up(struct batch *b, const double *x)
{
    CLEANUP(freep) uint32_t *uses = xcalloc(b->column_count + 1, sizeof(*uses));
    CLEANUP(freep) uint32_t *left = xcalloc(b->type_count + 1, sizeof(*left));
    int64_t missing[PLAN_BATCH_WANTS_MAX];

    for (uint32_t t = 0; t < b->type_count; t++) {
        left[t] = b->types[t].count;
    }
    for (size_t w = 0; w < b->want_count; w++) {
        missing[w] = b->wants[w].count;
    }
    for (uint32_t c = 0; c < b->column_count; c++) {
        uses[c] = (uint32_t)(x[c] + 1e-6);
        left[b->columns[c].type] -= uses[c];
        for (size_t w = 0; w < b->want_count; w++) {
            missing[w] -= (int64_t)uses[c] * b->columns[c].takes[w];
        }
    }
    for (;;) {
        double best = 0;
        uint32_t best_c = UINT32_MAX;
        for (uint32_t c = 0; c < b->column_count; c++) {
            const struct column *col = &b->columns[c];
            double gain = 0;
            for (size_t w = 0; left[col->type] && w < b->want_count; w++) {
                int64_t n = col->takes[w] < missing[w] ? col->takes[w] : missing[w];
                gain += n > 0 ? (double)n * (1 + x[c] - floor(x[c])) : 0;
            }
            gain /= 1 + (double)col->cost / COST_OPEN;
            if (gain > best) {
                best = gain;
                best_c = c;
            }
        }
        if (best_c == UINT32_MAX) {
            break;
        }
        uses[best_c]++;
        left[b->columns[best_c].type]--;
        for (size_t w = 0; w < b->want_count; w++) {
            missing[w] -= b->columns[best_c].takes[w];
        }
    }
    offer(b, uses);
}

/* The column whose use is farthest from whole. */
static uint32_t most_fractional(const struct batch *b, const double *x)
{
    uint32_t best = UINT32_MAX;
    double far = 1e-6;

    for (uint32_t c = 0; c < b->column_count; c++) {
        double d = fabs(x[c] - round(x[c]));
        if (d > far) {
            far = d;
            best = c;
        }
    }
    return best;
}

/* The sum that is farthest from whole: of the GPUs that are opened before of those that are in use,
 * and these before what is served on them; UINT32_MAX none. */
static uint32_t fractional_sum(const struct batch *b, const double *x, double *ret_value)
{
    uint32_t best = UINT32_MAX;
    double far = 0;

    for (uint32_t i = 0; i < sum_count(b); i++) {
        const struct type *t = &b->types[type_of_sum(b, i)];
        bool is_uses = i % (b->want_count + 1) == 0;
        double value = 0;
        for (uint32_t c = t->first_column; c < t->first_column + t->column_count; c++) {
            value += x[c] * counts_in(b, i, c);
        }
        double d = fabs(value - round(value));
        if (d > 1e-6 && is_uses) {
            d += plan_gpu_busy(b->plan, t->gpu)->mask ? 1 : 2;
        }
        if (d > 1e-6 && d > far) {
            far = d;
            best = i;
            *ret_value = value;
        }
    }
    return best;
}

static bool is_done(const struct batch *b)
{
    return b->takes_any && b->best_cost != INT64_MAX;
}

/* A column that would cost so much more than it is worth at the prices of the first program that
 * nothing with it is better than what has been found is not used any more. */
static void drop_columns(struct batch *b)
{
    const double *dual = b->root_dual;
    int64_t unit = b->has_idle ? 1 : COST_OPEN;

    for (uint32_t c = 0; c < b->column_count; c++) {
        const struct column *col = &b->columns[c];
        double more = col->cost + dual[2 * b->want_count + col->type];
        for (size_t w = 0; w < b->want_count; w++) {
            more -= dual[w] * col->takes[w];
        }
        if (b->root_cost + more > (double)(b->best_cost - unit) + 0.01) {
            b->high[c] = 0;
        }
    }
}

static void branch(struct batch *b, int depth);

/* At least, and less than, so many uses of what `low` and `high` are for. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static void branch_on(struct batch *b, int depth, uint32_t *low, uint32_t *high, double uses)
{
    uint32_t old_low = *low, old_high = *high, cut = (uint32_t)floor(uses);

    *low = cut + 1;
    branch(b, depth + 1);
    *low = old_low;
    *high = cut;
    if (!is_done(b)) {
        branch(b, depth + 1);
    }
    *high = old_high;
}

/* Solves the node.  False: nothing in it can be better than what has been found. */
static bool look_into(struct batch *b, int depth, double *x)
{
    int64_t bound = 0;
    double cost = 0;
    int r;

    if (b->nodes >= b->node_limit || depth > 400) {
        b->is_cut_short = true;
        return false;
    }
    if (depth == 0) { /* no column has a row of its own yet */
        b->root_dual = xcalloc(2 * b->want_count + b->type_count + 1, sizeof(*b->root_dual));
    }
    r = relax(b, x, &bound, &cost, depth == 0 ? b->root_dual : NULL);
    if (depth == 0) {
        b->root_bound = r == 1 ? bound : r == 0 ? INT64_MAX : 0;
        b->root_cost = cost;
    }
    if (r < 0) {
        b->is_cut_short = true;
        return false;
    }
    if (r == 0 || bound >= b->best_cost) {
        return false;
    }
    int64_t best = b->best_cost;
    round_up(b, x);
    if (b->best_cost < best) {
        drop_columns(b);
    }
    return bound < b->best_cost; /* or rounding met the bound */
}

static void branch(struct batch *b, int depth) /* NOLINT(misc-no-recursion) */
{
    CLEANUP(freep) double *x = xcalloc(b->column_count + 1, sizeof(*x));

    if (!look_into(b, depth, x) || is_done(b)) {
        return;
    }
    uint32_t c = most_fractional(b, x);
    if (c == UINT32_MAX) {
        return; /* whole already */
    }
    double uses = x[c];
    uint32_t sum = fractional_sum(b, x, &uses);
    if (sum != UINT32_MAX) {
        branch_on(b, depth, &b->sum_low[sum], &b->sum_high[sum], uses);
    } else {
        branch_on(b, depth, &b->low[c], &b->high[c], uses);
    }
}

/* --- the answer --- */

static void write_spots(const struct batch *b, const struct column *c, uint32_t gpu,
                        uint32_t *missing, struct plan_batch *ret)
{
    uint16_t bits, kept;

    destroyed_by(b->plan, gpu, c, &bits, &kept);
    for (int i = 0; i < c->count; i++) {
        const struct mig_geometry *g = &plan_gpu_index(b->plan, gpu)->geometry;
        if (!missing[c->wants[i]]) {
            continue; /* the column had room for more than is wanted */
        }
        missing[c->wants[i]]--;
        uint16_t window = mig_window(g, c->slices[i].profile, c->slices[i].start);
        uint16_t mine = plan_idle_touched(b->plan, gpu, window) & bits;
        bits &= (uint16_t)~mine;
        ret->destroyed += (uint32_t)__builtin_popcount(mine);
        ret->spots[ret->count++] = (struct plan_batch_spot){
            .spot = {.gpu_id = gpu, .slice = c->slices[i], .destroy = mine},
            .want = c->wants[i],
            .is_kept = kept >> i & 1,
        };
    }
}

static void write_answer(const struct batch *b, struct plan_batch *ret)
{
    uint32_t missing[PLAN_BATCH_WANTS_MAX];
    size_t total = 0;
    CLEANUP(freep) uint32_t *uses = xcalloc(b->column_count + 1, sizeof(*uses));

    memcpy(uses, b->best_uses, b->column_count * sizeof(*uses));
    for (size_t w = 0; w < b->want_count; w++) {
        missing[w] = b->wants[w].count;
        total += missing[w];
    }
    *ret = (struct plan_batch){.opened_least = (uint32_t)(b->root_bound / COST_OPEN),
                               .nodes = b->nodes,
                               .is_proven = !b->is_cut_short || b->best_cost <= b->root_bound};
    ret->spots = xcalloc(total + 1, sizeof(*ret->spots));
    for (uint32_t gpu = 0; gpu < b->plan->gpu_count; gpu++) {
        uint32_t t = b->type_of[gpu];
        for (uint32_t i = 0; t != UINT32_MAX && i < b->types[t].column_count; i++) {
            uint32_t c = b->types[t].first_column + i;
            if (uses[c]) {
                uses[c]--;
                ret->opened += !plan_gpu_busy(b->plan, gpu)->mask;
                write_spots(b, &b->columns[c], gpu, missing, ret);
                break;
            }
        }
    }
    assert(ret->count == total);
    if (ret->is_proven) {
        ret->opened_least = ret->opened;
    }
}

static void batch_done(struct batch *b)
{
    free(b->type_of);
    free(b->types);
    free(b->columns);
    free(b->low);
    free(b->high);
    free(b->at);
    free(b->root_dual);
    free(b->sum_low);
    free(b->sum_high);
    free(b->best_uses);
}

void plan_batch_done(struct plan_batch *batch)
{
    free(batch->spots);
    *batch = (struct plan_batch){0};
}

static int solve(struct batch *b, struct plan_batch *ret, struct error *err)
{
    int r = find_types(b);

    if (r == 0) {
        r = find_columns(b);
    }
    if (r < 0) {
        return err_set(err, E2BIG, "there are too many different layouts to look at all of them");
    }
    branch(b, 0);
    if (b->best_cost == INT64_MAX) {
        return b->is_cut_short
                   ? err_set(err, EAGAIN, "nothing found within %u steps", b->node_limit)
                   : err_set(err, ENOSPC, "the wanted slices do not fit together, however placed");
    }
    write_answer(b, ret);
    return 0;
}

static int place(const struct plan *plan, const struct plan_batch_want *wants, size_t count,
                 uint32_t node_limit, bool takes_any, struct plan_batch *ret, struct error *err)
{
    struct batch b = {.plan = plan,
                      .wants = wants,
                      .want_count = count,
                      .node_limit = node_limit,
                      .takes_any = takes_any,
                      .best_cost = INT64_MAX};
    int r;

    if (count > PLAN_BATCH_WANTS_MAX) {
        return err_set(err, E2BIG, "more than %d different profiles in one batch",
                       PLAN_BATCH_WANTS_MAX);
    }
    r = solve(&b, ret, err);
    batch_done(&b);
    return r;
}

int plan_batch_place(const struct plan *plan, const struct plan_batch_want *wants, size_t count,
                     uint32_t node_limit, struct plan_batch *ret, struct error *err)
{
    return place(plan, wants, count, node_limit, false, ret, err);
}

int plan_batch_fit(const struct plan *plan, const struct plan_batch_want *wants, size_t count,
                   uint32_t node_limit, struct plan_batch *ret, struct error *err)
{
    return place(plan, wants, count, node_limit, true, ret, err);
}
