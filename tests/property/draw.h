#pragma once
#include "plan/plan.h"
#include "replay/models.h"
#include "replay/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What the random tests of plan/ have in common: one source of random numbers for a file, and a
 * fleet of two kinds of GPU. */

static struct replay_random rnd;

static inline uint32_t draw(uint32_t below)
{
    return (uint32_t)(replay_random_next(&rnd) % below);
}

/* Class 0 is an H100, class 1 an A30. */
static inline void add_two_classes(struct plan *plan, struct mig_geometry *ret_geometry)
{
    static const char *const models[] = {"H100-SXM5-80GB", "A30"};

    for (int c = 0; c < 2; c++) {
        int class_id = -1;
        assert_int_equal(replay_model_geometry(models[c], &ret_geometry[c], NULL), 0);
        assert_int_equal(mig_geometry_init(&ret_geometry[c], NULL), 0);
        assert_int_equal(plan_add_class(plan, &ret_geometry[c], &class_id, NULL), 0);
        assert_int_equal(class_id, c);
    }
}
