/* The primal simplex method on a dense tableau.
 *
 * b >= 0 makes x = 0 a first solution, so there is no phase one.  The entering column is the one
 * with the largest coefficient; after many pivots without progress, the first one (Bland's rule),
 * which cannot cycle. */
#include "plan/lp.h"
#include "base/cleanup.h"
#include <errno.h>
#include <math.h>
#include <string.h>

#define EPS 1e-9

struct plan_lp plan_lp_new(size_t rows, size_t cols)
{
    return (struct plan_lp){
        .rows = rows,
        .cols = cols,
        .a = xcalloc(rows * cols + 1, sizeof(double)),
        .b = xcalloc(rows + 1, sizeof(double)),
        .c = xcalloc(cols + 1, sizeof(double)),
    };
}

void plan_lp_done(struct plan_lp *lp)
{
    free(lp->a);
    free(lp->b);
    free(lp->c);
    *lp = (struct plan_lp){0};
}

/* Columns are the non-basic variables (numbered 0.. for x, cols.. for slacks) and b last; the row
 * below the others is the objective. */
struct tableau {
    size_t rows, cols, width;
    double *t;
    size_t *row_var, *col_var;
};

static double *cell(const struct tableau *s, size_t row, size_t col)
{
    return &s->t[row * s->width + col];
}

static void pivot(struct tableau *s, size_t row, size_t col)
{
    double *p = cell(s, row, 0), by = 1 / p[col];

    for (size_t j = 0; j < s->width; j++) {
        p[j] *= by;
    }
    p[col] = by;
    for (size_t i = 0; i <= s->rows; i++) {
        double *r = cell(s, i, 0), f = r[col];
        if (i == row || f == 0) {
            continue;
        }
        for (size_t j = 0; j < s->width; j++) {
            r[j] -= f * p[j];
        }
        r[col] = -f * by;
    }
    size_t v = s->row_var[row];
    s->row_var[row] = s->col_var[col];
    s->col_var[col] = v;
}

static size_t entering(const struct tableau *s, int is_bland)
{
    const double *obj = cell(s, s->rows, 0);
    size_t best = s->cols;

    for (size_t j = 0; j < s->cols; j++) {
        if (obj[j] >= -EPS) {
            continue;
        }
        if (best == s->cols || (is_bland ? s->col_var[j] < s->col_var[best] : obj[j] < obj[best])) {
            best = j;
        }
    }
    return best;
}

static size_t leaving(const struct tableau *s, size_t col)
{
    size_t best = s->rows;
    double least = INFINITY;

    for (size_t i = 0; i < s->rows; i++) {
        double a = *cell(s, i, col), b = *cell(s, i, s->cols);
        if (a <= EPS) {
            continue;
        }
        double ratio = b / a;
        if (ratio < least - EPS ||
            (ratio < least + EPS && best < s->rows && s->row_var[i] < s->row_var[best])) {
            least = ratio;
            best = i;
        }
    }
    return best;
}

static int run(struct tableau *s, double *work)
{
    size_t most = 50 * (s->rows + s->cols) + 1000, stuck = 0;
    double value = 0;

    for (size_t n = 0; n < most; n++) {
        size_t col = entering(s, stuck > 50);
        if (col == s->cols) {
            return 0;
        }
        size_t row = leaving(s, col);
        if (row == s->rows) {
            return -ERANGE;
        }
        pivot(s, row, col);
        *work += (double)((s->rows + 1) * s->width);
        double now = *cell(s, s->rows, s->cols);
        stuck = now > value + EPS ? 0 : stuck + 1;
        value = now;
    }
    return -EAGAIN;
}

int plan_lp_solve(const struct plan_lp *lp, double *ret_value, double *ret_x, double *ret_dual)
{
    size_t width = lp->cols + 1;
    CLEANUP(freep) double *t = xcalloc((lp->rows + 1) * width, sizeof(*t));
    CLEANUP(freep) size_t *row_var = xcalloc(lp->rows + 1, sizeof(*row_var));
    CLEANUP(freep) size_t *col_var = xcalloc(lp->cols + 1, sizeof(*col_var));
    struct tableau s = {lp->rows, lp->cols, width, t, row_var, col_var};
    double ignored = 0;
    int r;

    for (size_t i = 0; i < lp->rows; i++) {
        memcpy(cell(&s, i, 0), &lp->a[i * lp->cols], lp->cols * sizeof(*t));
        *cell(&s, i, lp->cols) = lp->b[i];
        row_var[i] = lp->cols + i;
    }
    for (size_t j = 0; j < lp->cols; j++) {
        *cell(&s, lp->rows, j) = -lp->c[j];
        col_var[j] = j;
    }
    r = run(&s, lp->work ? lp->work : &ignored);
    if (r < 0) {
        return r;
    }
    *ret_value = *cell(&s, lp->rows, lp->cols);
    memset(ret_x, 0, lp->cols * sizeof(*ret_x));
    for (size_t i = 0; i < lp->rows; i++) {
        if (row_var[i] < lp->cols) {
            ret_x[row_var[i]] = *cell(&s, i, lp->cols);
        }
    }
    for (size_t i = 0; ret_dual && i < lp->rows; i++) {
        ret_dual[i] = 0;
    }
    for (size_t j = 0; ret_dual && j < lp->cols; j++) {
        if (col_var[j] >= lp->cols) {
            ret_dual[col_var[j] - lp->cols] = *cell(&s, lp->rows, j);
        }
    }
    return 0;
}
