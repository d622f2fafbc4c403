#pragma once
#include "base/error.h"

/* Folders. */

/* Makes the directories above `path` that are missing. */
int path_make_parents(const char *path, struct error *err);
/* The user's own folder: HOME, else what the user database says, else "/".  To free; before there
 * are threads. */
char *path_home(void);
