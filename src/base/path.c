#include "base/path.h"
#include "base/cleanup.h"
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int path_make_parents(const char *path, struct error *err)
{
    CLEANUP(freep) char *dir = xstrdup(path);

    for (char *slash = strchr(dir + (*dir == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
            return err_set(err, errno, "cannot make the directory %s: %s", dir, strerror(errno));
        }
        *slash = '/';
    }
    return 0;
}

char *path_home(void)
{
    const char *home = getenv("HOME");

    if (home && *home == '/') {
        return xstrdup(home);
    }
    const struct passwd *entry = getpwuid(geteuid());
    return xstrdup(entry && entry->pw_dir && *entry->pw_dir == '/' ? entry->pw_dir : "/");
}
