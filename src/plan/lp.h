#pragma once
#include <stddef.h>

/* Small dense linear programs in packing form: maximise c*x, A*x <= b, x >= 0, with every b >= 0.
 */

struct plan_lp {
    size_t rows, cols;
    double *a; /* [row * cols + col] */
    double *b; /* [row] */
    double *c; /* [col] */
    double *work; /* multiplications that solving took are added here; may be NULL */
};

struct plan_lp plan_lp_new(size_t rows, size_t cols);
void plan_lp_done(struct plan_lp *lp);

/* 0 and the optimum with ret_x[cols]; -ERANGE when unbounded, -EAGAIN when it takes more than the
 * pivots allowed for this size.  ret_dual[rows] (may be NULL): what one more unit of b is worth. */
int plan_lp_solve(const struct plan_lp *lp, double *ret_value, double *ret_x, double *ret_dual);
