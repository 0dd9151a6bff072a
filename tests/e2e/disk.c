/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A disk that ends a program, or everything, or begins to fail, at a chosen step. For LD_PRELOAD:
 *
 *     gcc -shared -fPIC -o disk.so disk.c -ldl
 *     echo cut 17 >disk.so.at; LD_PRELOAD=$PWD/disk.so gtfs ...
 *
 * A step is a call that makes something durable, or makes or changes a name. All steps are counted together, in the
 * length of disk.so.steps. At the one of the number in disk.so.at, 0 for none, happens what the word before it says:
 *
 *     cut     just before it every process with this library dies by SIGKILL, as in a power cut
 *     kill    the process itself dies; only steps of Python programs count, and git goes on
 *     fail    it and all after it fail with the errno that follows the number. Only steps of Python programs in the
 *             directory of this library count, writing is one too, and removing is none
 *
 * The files lie beside the library, as gtfs hands few variables on to git, and can be changed while a program runs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Plain system calls, so that what this file does is no step itself. */
static int plain_open(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static int belongs_to_us(const char *pid, const char *library)
{
    char path[64], environment[65536];
    ssize_t length;
    int fd;

    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    fd = plain_open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    length = read(fd, environment, sizeof environment);
    close(fd);
    return length > 0 && memmem(environment, (size_t)length, library, strlen(library)) != NULL;
}

static void cut(const char *library)
{
    for (int round = 0; round < 2; round++) { /* again, for what was being started meanwhile */
        DIR *proc = opendir("/proc");
        struct dirent *entry;

        while (proc != NULL && (entry = readdir(proc)) != NULL) {
            pid_t pid = (pid_t)atol(entry->d_name);
            if (pid > 0 && pid != getpid() && belongs_to_us(entry->d_name, library))
                kill(pid, SIGKILL);
        }
        if (proc != NULL)
            closedir(proc);
    }
    kill(getpid(), SIGKILL);
}

enum kind { NAME, REMOVAL, WRITING };

/* Whether a step of a program is to fail, with errno set. Dies in it if that is what was asked for. */
static int step(enum kind kind, const char *path)
{
    char beside[PATH_MAX + 8], text[64] = "", mode[8];
    int saved = errno, fd, number = ENOSPC, python = strncmp(program_invocation_short_name, "python", 6) == 0;
    long at, now;
    Dl_info us;

    if (!dladdr((void *)step, &us))
        abort();
    snprintf(beside, sizeof beside, "%s.at", us.dli_fname);
    fd = plain_open(beside, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0 || sscanf(text, "%7s %ld %d", mode, &at, &number) < 2)
        abort();
    close(fd);
    errno = saved;
    if (strcmp(mode, "fail") == 0) {
        size_t directory = (size_t)(strrchr(us.dli_fname, '/') - us.dli_fname) + 1;

        if (!python || kind == REMOVAL || path == NULL || strncmp(path, us.dli_fname, directory) != 0)
            return 0;
    } else if (kind == WRITING || (!python && strcmp(mode, "kill") == 0)) {
        return 0;
    }
    snprintf(beside, sizeof beside, "%s.steps", us.dli_fname);
    fd = plain_open(beside, O_WRONLY | O_APPEND | O_CREAT);
    if (fd < 0 || syscall(SYS_write, fd, ".", 1) != 1)
        abort();
    now = (long)lseek(fd, 0, SEEK_CUR); /* behind what was appended here, whoever else appends */
    close(fd);
    errno = saved;
    if (strcmp(mode, "fail") == 0 && at != 0 && now >= at) {
        errno = number;
        return 1;
    }
    if (strcmp(mode, "fail") != 0 && now == at) {
        if (strcmp(mode, "cut") == 0)
            cut(us.dli_fname);
        kill(getpid(), SIGKILL);
    }
    return 0;
}

static int step_fd(enum kind kind, int fd)
{
    char link[64], path[PATH_MAX];
    int saved = errno;
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length >= 0)
        path[length] = 0;
    return step(kind, length < 0 ? NULL : path);
}

#define WRAP(type, name, parameters, arguments, fails)                          \
    type name parameters                                                        \
    {                                                                           \
        type (*real) parameters = (type (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (real == NULL)                                                       \
            abort();                                                            \
        if (fails)                                                              \
            return -1;                                                          \
        return real arguments;                                                  \
    }

#define WRAP_FD(type, name, parameters, arguments, kind) WRAP(type, name, parameters, arguments, step_fd(kind, fd))

WRAP_FD(int, fsync, (int fd), (fd), NAME)
WRAP_FD(int, fdatasync, (int fd), (fd), NAME)
WRAP_FD(int, syncfs, (int fd), (fd), NAME)
WRAP_FD(int, ftruncate, (int fd, off_t size), (fd, size), NAME)
WRAP_FD(int, ftruncate64, (int fd, off64_t size), (fd, size), NAME)
WRAP_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), WRITING)
WRAP_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), WRITING)
WRAP_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), WRITING)
WRAP_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), WRITING)

WRAP(int, rename, (const char *old, const char *new), (old, new), step(NAME, new))
WRAP(int, renameat, (int a, const char *old, int b, const char *new), (a, old, b, new), step(NAME, new))
WRAP(int, link, (const char *old, const char *new), (old, new), step(NAME, new))
WRAP(int, symlink, (const char *old, const char *new), (old, new), step(NAME, new))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), step(NAME, path))
WRAP(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), step(NAME, path))
WRAP(int, unlink, (const char *path), (path), step(REMOVAL, path))
WRAP(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), step(REMOVAL, path))
WRAP(int, rmdir, (const char *path), (path), step(REMOVAL, path))

#define WRAP_OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                          \
    {                                                                                                   \
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        mode_t mode = 0;                                                                                \
        va_list more;                                                                                   \
        if (real == NULL)                                                                               \
            abort();                                                                                    \
        va_start(more, flags);                                                                          \
        if (flags & O_CREAT)                                                                            \
            mode = va_arg(more, mode_t);                                                                \
        va_end(more);                                                                                   \
        if (flags & O_CREAT && step(access(path, F_OK) == 0 ? REMOVAL : NAME, path))                    \
            return -1;                                                                                  \
        return real(path, flags, mode);                                                                 \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
