#pragma once
#include "cli/cli.h"

/* The whole terminal, for something that is drawn again and again (-w).
 *
 * While it is taken, the terminal's other screen is shown, what is typed is not echoed, and signals
 * come through screen_fd().  What had been on the terminal is there again afterwards. */

struct screen;

/* NULL when standard output is no terminal, or when a tree (JSON, YAML) or CSV goes there. */
struct screen *screen_take(struct cli *cli);
void screen_free(struct screen *s); /* gives it back */
DEFINE_FREEP(struct screen, screen_free)

/* Readable when a signal or a key came, the terminal changed its size, or two seconds went by. */
int screen_fd(const struct screen *s);
/* Reads all that; the exit status when the user wants to end (0 by key, 128 + n by signal), -1 when
 * not.  Stops the process on Ctrl-Z, as others do. */
int screen_handle(struct screen *s);

/* Runs `draw`, and shows what it has printed, cut to the terminal.  Returns what draw() returned;
 * if that is not 0 the old picture stays, with what was said below it. */
int screen_draw(struct screen *s, int (*draw)(struct cli *cli));
/* A line at the bottom, over the picture. */
void screen_note(struct screen *s, const char *text);
