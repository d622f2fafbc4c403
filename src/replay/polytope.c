/* The configuration polytope of a fleet.
 *
 * Columns are the ways to fill one GPU of a class, as counts by profile, without those that another
 * one beats in everything (28 for the six plain profiles of an eight-slot model).  Three kinds of
 * rows, all in the packing form that plan/lp.h solves:
 *
 *   kind q:              taken[q] <= sum over classes of given[c, q]
 *   class c, profile p:  sum of given[c, q], q being p there, <= sum over columns of uses * count
 *   class c:             sum over columns of uses <= GPUs
 *
 * With taken = stretch * counts the optimum says how far counts lie inside, and the duals of the
 * rows of the kinds are a face: prices of the kinds for which no filling is worth more than what
 * the fleet's best columns are.  That worth is computed anew from the columns, so that a face holds
 * whatever the solver's rounding did. */
#include "replay/polytope.h"
#include "plan/lp.h"
#include <assert.h>
#include <math.h>
#include <string.h>

#define COLUMNS_MAX 4000
#define FACES_MAX 256

struct column {
    int class_id;
    uint8_t count[MIG_PROFILES_MAX];
};

/* Faces that were found once, and what looking for faces has cost so far. */
struct known {
    bool is_found;
    double work;
    size_t count;
    struct replay_face faces[FACES_MAX];
};

struct replay_polytope {
    struct known *known;
    const struct replay_fleet *fleet;
    const struct plan_ask *asks;
    size_t kinds;
    size_t column_count;
    struct column *columns;
    size_t row_count;
    size_t profile_row[REPLAY_GROUPS_MAX][MIG_PROFILES_MAX]; /* of those asked for */
};

/* --- columns --- */

struct visit {
    struct replay_polytope *polytope;
    int class_id;
    int profile[MIG_PROFILES_MAX]; /* of the geometry, by that of the shorter one */
};

static bool is_beaten(const struct column *a, const struct column *by)
{
    for (int p = 0; p < MIG_PROFILES_MAX; p++) {
        if (a->count[p] > by->count[p]) {
            return false;
        }
    }
    return true;
}

/* Keeps the columns that no other one beats. */
static int add_column(void *arg, const struct mig_layout *layout)
{
    struct visit *v = arg;
    struct replay_polytope *t = v->polytope;
    struct column new = {.class_id = v->class_id};
    size_t kept = 0;

    for (int i = 0; i < layout->count; i++) {
        new.count[v->profile[layout->slices[i].profile]]++;
    }
    for (size_t i = 0; i < t->column_count; i++) {
        const struct column *c = &t->columns[i];
        if (c->class_id == new.class_id && is_beaten(&new, c)) {
            return 0;
        }
    }
    for (size_t i = 0; i < t->column_count; i++) {
        if (t->columns[i].class_id != new.class_id || !is_beaten(&t->columns[i], &new)) {
            t->columns[kept++] = t->columns[i];
        }
    }
    t->column_count = kept;
    if (t->column_count == COLUMNS_MAX) {
        return -ENOTSUP;
    }
    t->columns[t->column_count++] = new;
    return 0;
}

/* Only the profiles that somebody asks for: others would multiply the layouts. */
static int find_columns(struct replay_polytope *t, int class_id)
{
    const struct mig_geometry *g = &t->fleet->groups[class_id].geometry;
    struct mig_geometry used = *g;
    struct visit v = {.polytope = t, .class_id = class_id};

    used.profile_count = 0;
    for (int p = 0; p < g->profile_count; p++) {
        bool is_used = false;
        for (size_t q = 0; q < t->kinds; q++) {
            is_used = is_used || t->asks[q].profile[class_id] == p;
        }
        if (is_used && g->profiles[p].start_count) {
            int n = used.profile_count++;
            t->profile_row[class_id][p] = t->row_count++;
            used.profiles[n] = g->profiles[p];
            used.start_mask[n] = g->start_mask[p];
            used.window_mask[n] = g->window_mask[p];
            v.profile[n] = p;
        }
    }
    return mig_layouts_visit(&used, NULL, add_column, &v);
}

/* --- the linear program --- */

static double *cell(struct plan_lp *lp, size_t row, size_t col)
{
    return &lp->a[row * lp->cols + col];
}

/* Columns: given (class, kind), uses, and behind them `taken` ones for the caller to fill in. */
static struct plan_lp make_program(const struct replay_polytope *t, size_t taken)
{
    size_t classes = (size_t)t->fleet->count, given = classes * t->kinds;
    struct plan_lp lp =
        plan_lp_new(t->row_count + classes + taken, given + t->column_count + taken);

    for (size_t c = 0; c < classes; c++) {
        for (size_t q = 0; q < t->kinds; q++) {
            int p = t->asks[q].profile[c];
            if (p >= 0 && t->profile_row[c][p]) {
                *cell(&lp, q, c * t->kinds + q) = -1;
                *cell(&lp, t->profile_row[c][p], c * t->kinds + q) = 1;
            }
        }
        lp.b[t->row_count + c] = t->fleet->groups[c].gpus;
    }
    for (size_t k = 0; k < t->column_count; k++) {
        const struct column *x = &t->columns[k];
        for (int p = 0; p < MIG_PROFILES_MAX; p++) {
            if (x->count[p]) {
                *cell(&lp, t->profile_row[x->class_id][p], given + k) = -x->count[p];
            }
        }
        *cell(&lp, t->row_count + (size_t)x->class_id, given + k) = 1;
    }
    return lp;
}

/* What the fleet's best fillings are worth at these prices; a profile goes to its dearest kind. */
static double worth(const struct replay_polytope *t, const double *price)
{
    double dearest[REPLAY_GROUPS_MAX][MIG_PROFILES_MAX] = {{0}}, best[REPLAY_GROUPS_MAX] = {0};
    double sum = 0;

    for (int c = 0; c < t->fleet->count; c++) {
        for (size_t q = 0; q < t->kinds; q++) {
            int p = t->asks[q].profile[c];
            if (p >= 0) {
                dearest[c][p] = fmax(dearest[c][p], price[q]);
            }
        }
    }
    for (size_t k = 0; k < t->column_count; k++) {
        const struct column *x = &t->columns[k];
        double value = 0;
        for (int p = 0; p < MIG_PROFILES_MAX; p++) {
            value += x->count[p] * dearest[x->class_id][p];
        }
        best[x->class_id] = fmax(best[x->class_id], value);
    }
    for (int c = 0; c < t->fleet->count; c++) {
        sum += best[c] * t->fleet->groups[c].gpus;
    }
    return sum;
}

static bool is_anywhere(const struct replay_polytope *t, size_t kind)
{
    for (int c = 0; c < t->fleet->count; c++) {
        int p = t->asks[kind].profile[c];
        if (p >= 0 && t->profile_row[c][p]) {
            return true;
        }
    }
    return false;
}

double replay_polytope_stretch(const struct replay_polytope *t, const double *counts,
                               struct replay_face *ret)
{
    struct plan_lp lp = make_program(t, 1);
    CLEANUP(freep) double *x = xcalloc(lp.cols, sizeof(*x));
    CLEANUP(freep) double *dual = xcalloc(lp.rows, sizeof(*dual));
    double stretch = 0, sum;
    int r;

    for (size_t q = 0; q < t->kinds; q++) {
        *cell(&lp, q, lp.cols - 1) = is_anywhere(t, q) ? counts[q] : 0;
    }
    lp.c[lp.cols - 1] = 1;
    lp.work = &t->known->work;
    r = plan_lp_solve(&lp, &stretch, x, dual);
    plan_lp_done(&lp);
    for (size_t q = 0; r == 0 && q < t->kinds; q++) {
        dual[q] = fmax(dual[q], 0);
    }
    sum = r == 0 ? worth(t, dual) : 0;
    if (sum <= 0) {
        return INFINITY;
    }
    *ret = (struct replay_face){{0}};
    for (size_t q = 0; q < t->kinds; q++) {
        ret->price[q] = dual[q] / sum;
    }
    return stretch;
}

double replay_polytope_serve(const struct replay_polytope *t, const double *counts,
                             const double *weights)
{
    struct plan_lp lp = make_program(t, t->kinds);
    CLEANUP(freep) double *x = xcalloc(lp.cols, sizeof(*x));
    size_t rows = lp.rows - t->kinds, cols = lp.cols - t->kinds;
    double value = 0;
    int r;

    for (size_t q = 0; q < t->kinds; q++) {
        *cell(&lp, q, cols + q) = 1;
        *cell(&lp, rows + q, cols + q) = 1;
        lp.b[rows + q] = counts[q];
        lp.c[cols + q] = weights[q];
    }
    r = plan_lp_solve(&lp, &value, x, NULL);
    plan_lp_done(&lp);
    return r == 0 ? value : (double)INFINITY;
}

/* --- faces --- */

/* Is `a` no dearer than `b` for any kind, so that whoever obeys b obeys a? */
static bool is_implied(const struct replay_face *a, const struct replay_face *b, size_t kinds)
{
    for (size_t q = 0; q < kinds; q++) {
        if (a->price[q] > b->price[q] + 1e-9) {
            return false;
        }
    }
    return true;
}

bool replay_face_add(struct replay_face *faces, size_t *count, size_t most, size_t kinds,
                     const struct replay_face *face)
{
    size_t kept = 0;

    for (size_t f = 0; f < *count; f++) {
        if (is_implied(face, &faces[f], kinds)) {
            return false;
        }
    }
    for (size_t f = 0; f < *count; f++) {
        if (!is_implied(&faces[f], face, kinds)) {
            faces[kept++] = faces[f];
        }
    }
    *count = kept;
    if (kept == most) {
        return false;
    }
    faces[(*count)++] = *face;
    return true;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

double replay_polytope_work(const struct replay_polytope *t)
{
    return t->known->work;
}

/* Every kind is in every direction: where one is missing its price would be any. */
static void find_faces(const struct replay_polytope *t, struct known *k)
{
    uint64_t state = 1;

    for (size_t round = 0; round < 40 * t->kinds && k->work < REPLAY_FACES_WORK; round++) {
        double n[REPLAY_KINDS_MAX];
        struct replay_face face = {{0}};
        for (size_t q = 0; q < t->kinds; q++) {
            n[q] = exp2((double)(draw(&state) % 1000) / 80);
        }
        if (isfinite(replay_polytope_stretch(t, n, &face))) {
            replay_face_add(k->faces, &k->count, FACES_MAX, t->kinds, &face);
        }
    }
    k->is_found = true;
}

size_t replay_polytope_faces(const struct replay_polytope *t, struct replay_face *faces,
                             size_t most)
{
    if (!t->known->is_found) {
        find_faces(t, t->known);
    }
    size_t count = t->known->count < most ? t->known->count : most;
    memcpy(faces, t->known->faces, count * sizeof(*faces));
    return count;
}

/* --- setting up --- */

int replay_polytope_new(const struct replay_fleet *fleet, const struct plan_ask *asks, size_t kinds,
                        struct replay_polytope **ret, struct error *err)
{
    CLEANUP(replay_polytope_freep) struct replay_polytope *t = xcalloc(1, sizeof(*t));
    int r = 0;

    if (kinds > REPLAY_KINDS_MAX) {
        return err_set(err, E2BIG, "more than %d kinds of request", REPLAY_KINDS_MAX);
    }
    t->fleet = fleet;
    t->asks = asks;
    t->kinds = t->row_count = kinds;
    t->columns = xcalloc(COLUMNS_MAX, sizeof(*t->columns));
    t->known = xcalloc(1, sizeof(*t->known));
    for (int c = 0; r == 0 && c < fleet->count; c++) {
        r = find_columns(t, c);
    }
    if (r < 0) {
        return err_set(err, ENOTSUP, "too many ways to fill a GPU of this fleet");
    }
    *ret = TAKE_PTR(t);
    return 0;
}

void replay_polytope_free(struct replay_polytope *t)
{
    if (t) {
        free(t->columns);
        free(t->known);
        free(t);
    }
}
