/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A zlib that writes other bytes than madler's at level 1, as zlib-ng, cloudflare's and others do. For LD_PRELOAD:
 *
 *     gcc -shared -fPIC -o otherzlib.so otherzlib.c -ldl
 *     LD_PRELOAD=$PWD/otherzlib.so gtfs ...
 *
 * OTHERZLIB says in what it differs: "level" (default: it finds other matches, and even the two bytes of the container's
 * header differ), "memory" (other hash, other block ends), "window" (shorter distances), "fixed" (other codes).
 * Its output is sound deflate data. Calls for other levels go through unchanged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef int init2_function(void *, int, int, int, int, int, const char *, int);

int deflateInit2_(void *stream, int level, int method, int window_bits, int memory, int strategy, const char *version,
                  int stream_size)
{
    init2_function *real = (init2_function *)dlsym(RTLD_NEXT, "deflateInit2_");
    const char *how = getenv("OTHERZLIB");

    if (real == NULL) { /* a zlib that came with a dlopened module stands in no scope that RTLD_NEXT looks at */
        void *zlib = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
        if (zlib == NULL)
            abort();
        real = (init2_function *)dlsym(zlib, "deflateInit2_");
    }
    if (level == 1) {
        if (how == NULL || strcmp(how, "level") == 0)
            level = 2;
        else if (strcmp(how, "memory") == 0)
            memory = 9;
        else if (strcmp(how, "window") == 0)
            window_bits = window_bits < 0 ? -14 : 14;
        else if (strcmp(how, "fixed") == 0)
            strategy = 4; /* Z_FIXED */
        else
            abort();
    }
    return real(stream, level, method, window_bits, memory, strategy, version, stream_size);
}

int deflateInit_(void *stream, int level, const char *version, int stream_size)
{
    return deflateInit2_(stream, level, 8, 15, 8, 0, version, stream_size);
}
