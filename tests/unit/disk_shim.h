#pragma once

/* A disk that can fail: an SQLite VFS ("shim") over the default one.  Once `countdown` calls that
 * change the disk have passed, the next `times` of them fail with `code`. */
struct disk_shim {
    int countdown; /* < 0: never fails */
    int times;
    int code;
    int calls; /* seen so far */
};
extern struct disk_shim disk_shim;

void disk_shim_register(void);
