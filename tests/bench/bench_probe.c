/* How long does a small GET take while other things go on?
 *
 *     bench_probe SOCKET PATH [SOCKET PATH]
 *
 * Every millisecond one GET, on one connection that is kept, of each socket in turn; until
 * its input ends.  Prints a JSON line for each: the second one is the measure (a bare server in
 * the same minute on the same cores). */
#include "base/clock.h"
#include "base/cleanup.h"
#include "client.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBES_MAX 1000000

int main(int argc, char **argv)
{
    static struct bench_client clients[2];
    static const char *const names[2] = {"daemon", "bare"};
    int64_t *ns[2] = {NULL};
    int servers = (argc - 1) / 2;
    size_t count = 0;

    if (argc != 3 && argc != 5) {
        bench_die("usage: bench_probe SOCKET PATH [SOCKET PATH]");
    }
    for (int i = 0; i < servers; i++) {
        ns[i] = xcalloc(PROBES_MAX, sizeof(**ns));
        bench_dial(&clients[i], argv[1 + 2 * i]);
        bench_ask(&clients[i], "GET", argv[2 + 2 * i], NULL); /* not counted: warm */
    }
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 1) == 0 && count < PROBES_MAX) {
        for (int i = 0; i < servers; i++) {
            ns[i][count] = bench_ask(&clients[i], "GET", argv[2 + 2 * i], NULL);
            if (clients[i].status != 200) {
                bench_die("status %u: %.300s", clients[i].status, clients[i].body);
            }
        }
        count++;
    }
    for (int i = 0; i < servers && count; i++) {
        bench_print(names[i], ns[i], count);
        free(ns[i]);
    }
    return 0;
}
