/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A disk that is full, or dies, from a chosen step of a program on. For LD_PRELOAD:
 *
 *     gcc -shared -fPIC -o failat.so failat.c -ldl
 *     FAILAT=17 FAILAT_ERRNO=28 FAILAT_DIR=/tmp/x FAILAT_PROGRAM=python LD_PRELOAD=$PWD/failat.so gtfs ...
 *
 * A step is a call that writes to a file below FAILAT_DIR, makes it durable, or makes a file or directory there. The
 * one of number FAILAT and all after it fail with FAILAT_ERRNO; FAILAT_ONCE spares those after it. Only programs whose
 * name begins with FAILAT_PROGRAM count. FAILAT=0 fails nothing. FAILAT_LOG names a file that gets a byte for each step.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long steps;

static int is_ours(const char *path)
{
    const char *below = getenv("FAILAT_DIR"), *program = getenv("FAILAT_PROGRAM");

    return below != NULL && program != NULL && strncmp(path, below, strlen(below)) == 0
        && strncmp(program_invocation_short_name, program, strlen(program)) == 0;
}

static int fails(void)
{
    const char *at = getenv("FAILAT"), *log = getenv("FAILAT_LOG"), *number = getenv("FAILAT_ERRNO");
    long now = ++steps, first = at == NULL ? 0 : atol(at);

    if (log != NULL) {
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
        ssize_t (*put)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
        int fd = real(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (fd >= 0) {
            if (put(fd, ".", 1) != 1)
                abort();
            close(fd);
        }
    }
    if (first == 0 || now < first || (now > first && getenv("FAILAT_ONCE") != NULL))
        return 0;
    errno = number == NULL ? ENOSPC : atoi(number);
    return 1;
}

static int fails_fd(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t length;
    int before = errno;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_ours(path) && fails();
}

static int fails_path(const char *path)
{
    return is_ours(path) && fails();
}

#define REAL(type, name, parameters) ((type (*) parameters)dlsym(RTLD_NEXT, #name))

#define WRAP_FD(type, name, parameters, arguments)      \
    type name parameters                                \
    {                                                   \
        if (fails_fd(fd))                               \
            return -1;                                  \
        return REAL(type, name, parameters) arguments;  \
    }

WRAP_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP_FD(int, fsync, (int fd), (fd))
WRAP_FD(int, fdatasync, (int fd), (fd))

int mkdir(const char *path, mode_t mode)
{
    if (fails_path(path))
        return -1;
    return REAL(int, mkdir, (const char *, mode_t))(path, mode);
}

#define WRAP_OPEN(name)                                             \
    int name(const char *path, int flags, ...)                      \
    {                                                               \
        va_list more;                                               \
        mode_t mode = 0;                                            \
        if (flags & O_CREAT) {                                      \
            va_start(more, flags);                                  \
            mode = va_arg(more, mode_t);                            \
            va_end(more);                                           \
            if (access(path, F_OK) != 0 && fails_path(path))        \
                return -1;                                          \
        }                                                           \
        return REAL(int, name, (const char *, int, ...))(path, flags, mode); \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
