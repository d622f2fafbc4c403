/* Loaded before a program, it makes the user database hang: while the file NSS_SHIM_GATE is there,
 * no user is told but those below NSS_SHIM_FROM. */
#include <dlfcn.h>
#include <pwd.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int getpwuid_r(uid_t uid, struct passwd *entry, char *buf,
                                                      size_t size, struct passwd **ret)
{
    int (*next)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT,
                                                                                 "getpwuid_r");
    const char *gate = getenv("NSS_SHIM_GATE"), *from = getenv("NSS_SHIM_FROM");
    const struct timespec pause = {.tv_nsec = 2000000};

    while (gate && uid >= (uid_t)strtoul(from ? from : "0", NULL, 10) && access(gate, F_OK) == 0) {
        nanosleep(&pause, NULL);
    }
    return next(uid, entry, buf, size, ret);
}
