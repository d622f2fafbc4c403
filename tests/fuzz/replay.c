/* Runs every file of a corpus through the fuzz target, and a number of inputs drawn from a fixed
 * seed: a plain test that needs no fuzzer. */
#include "fuzz.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Each file with some bytes changed in a fixed way, and cut short: text that is almost right goes
 * deeper into a parser than noise does. */
static void change_file(const uint8_t *data, size_t n)
{
    static const char bytes[] = "{}[]\",:-0'#&*!|>\n \xff\x80\x01";
    uint64_t seed = 1;

    for (int round = 0; round < 100 && n; round++) {
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, data, n);
        for (int k = 0; k <= round % 4; k++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            copy[(seed >> 33) % n] = (uint8_t)bytes[(seed >> 20) % (sizeof(bytes) - 1)];
        }
        LLVMFuzzerTestOneInput(copy, n);
        LLVMFuzzerTestOneInput(copy, (seed >> 33) % n);
        free(copy);
    }
}

static void test_corpus(void **state)
{
    (void)state;
    DIR *dir = opendir(CORPUS);
    assert_non_null(dir);
    unsigned int files = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[1024];
        static uint8_t data[1 << 16];
        snprintf(path, sizeof(path), "%s/%s", CORPUS, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (f) {
            size_t n = fread(data, 1, sizeof(data), f);
            fclose(f);
            LLVMFuzzerTestOneInput(data, n);
            change_file(data, n);
            files++;
        }
    }
    closedir(dir);
    assert_true(files > 0);
}

static void test_drawn(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 500; round++) {
        uint8_t data[512];
        for (size_t i = 0; i < sizeof(data); i++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            data[i] = (uint8_t)(seed >> 56);
        }
        LLVMFuzzerTestOneInput(data, sizeof(data));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
