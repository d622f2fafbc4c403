#include "driver/nvml.h"
#include "driver_abi.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Our declarations against NVIDIA's nvml.h, where that is installed (libnvidia-ml-dev). */

#define SIZE(ours, theirs) {#ours, sizeof(struct ours)},
#define MEMBER(ours, theirs, mine, real) {#ours "." #mine, offsetof(struct ours, mine)},
#define VALUE(ours, theirs) {#ours, (unsigned long long)(ours)},

static void our_declarations_are_nvidias(void **state)
{
    static const struct abi_row ours[] = {ABI_ROWS(SIZE, MEMBER, VALUE){NULL, 0}};
    (void)state;
    for (size_t i = 0; ours[i].name; i++) {
        if (ours[i].value != abi_theirs[i].value) {
            fail_msg("%s is %llu, %s is %llu", ours[i].name, ours[i].value, abi_theirs[i].name,
                     abi_theirs[i].value);
        }
    }
    assert_int_equal(sizeof(struct nvml_gi_profile_v3), 152); /* not in every header */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(our_declarations_are_nvidias)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
