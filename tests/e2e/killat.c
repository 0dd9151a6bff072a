/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Kills a Python program at a chosen step on its disk. For LD_PRELOAD:
 *
 *     gcc -shared -fPIC -o killat.so killat.c -ldl
 *     KILLAT=17 LD_PRELOAD=$PWD/killat.so gtfs ...
 *
 * A step is a call that makes something durable or changes a name; the process dies just before the one of this number,
 * by SIGKILL, as it would in a power failure. KILLAT=0 kills nobody. KILLAT_LOG names a file that gets a byte for
 * each step. Other programs, such as the git that gtfs runs, are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long steps;

static void step(void)
{
    const char *at = getenv("KILLAT"), *log = getenv("KILLAT_LOG");

    if (at == NULL || strncmp(program_invocation_short_name, "python", 6) != 0)
        return;
    if (log != NULL) {
        int fd = open(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (fd >= 0) {
            if (write(fd, ".", 1) != 1)
                abort();
            close(fd);
        }
    }
    if (++steps == atol(at))
        kill(getpid(), SIGKILL);
}

#define WRAP(name, parameters, arguments)                                  \
    int name parameters                                                    \
    {                                                                      \
        int (*real) parameters = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (real == NULL)                                                  \
            abort();                                                       \
        step();                                                            \
        return real arguments;                                             \
    }

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(rename, (const char *old, const char *new), (old, new))
WRAP(unlink, (const char *path), (path))
WRAP(ftruncate, (int fd, off_t size), (fd, size))
WRAP(ftruncate64, (int fd, off64_t size), (fd, size))
