#pragma once
#include <stddef.h>
#include <stdint.h>

/* What every fuzz target defines.  Built with clang -fsanitize=fuzzer it is searched by libFuzzer;
 * built with replay.c it runs its corpus once, as a plain test. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
