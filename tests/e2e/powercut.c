/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A power cut at a chosen step on the disk, for a program and everything that it starts. For LD_PRELOAD:
 *
 *     gcc -shared -fPIC -o powercut.so powercut.c -ldl
 *     echo 17 >powercut.so.at; LD_PRELOAD=$PWD/powercut.so gtfs ...
 *
 * A step is a call that makes something durable, or makes or changes a name, of gtfs or of the git that it runs; all
 * of them are counted together, in the length of powercut.so.steps. Just before the one of the number in powercut.so.at
 * every process with this library dies by SIGKILL. 0 cuts nothing. The files lie beside the library, as gtfs hands few
 * variables on to git.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

static void step(void)
{
    char path[4096], text[32] = "";
    int saved = errno, fd;
    long number;
    Dl_info us;

    if (!dladdr((void *)step, &us))
        abort();
    snprintf(path, sizeof path, "%s.at", us.dli_fname);
    fd = plain_open(path, O_RDONLY);
    if (fd < 0) {
        errno = saved;
        return;
    }
    if (read(fd, text, sizeof text - 1) < 0)
        abort();
    close(fd);
    snprintf(path, sizeof path, "%s.steps", us.dli_fname);
    fd = plain_open(path, O_WRONLY | O_APPEND | O_CREAT);
    if (fd < 0 || write(fd, ".", 1) != 1)
        abort();
    number = (long)lseek(fd, 0, SEEK_CUR); /* behind what was appended here, whoever else appends */
    close(fd);
    if (number == atol(text))
        cut(us.dli_fname);
    errno = saved;
}

#define WRAP(name, parameters, arguments)                                     \
    int name parameters                                                       \
    {                                                                         \
        int (*real) parameters = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (real == NULL)                                                     \
            abort();                                                          \
        step();                                                               \
        return real arguments;                                                \
    }

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(syncfs, (int fd), (fd))
WRAP(rename, (const char *old, const char *new), (old, new))
WRAP(renameat, (int a, const char *old, int b, const char *new), (a, old, b, new))
WRAP(link, (const char *old, const char *new), (old, new))
WRAP(symlink, (const char *old, const char *new), (old, new))
WRAP(unlink, (const char *path), (path))
WRAP(unlinkat, (int at, const char *path, int flags), (at, path, flags))
WRAP(mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
WRAP(rmdir, (const char *path), (path))
WRAP(ftruncate, (int fd, off_t size), (fd, size))
WRAP(ftruncate64, (int fd, off64_t size), (fd, size))

#define WRAP_OPEN(name)                                                                                   \
    int name(const char *path, int flags, ...)                                                            \
    {                                                                                                     \
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);   \
        mode_t mode = 0;                                                                                  \
        va_list more;                                                                                     \
        if (real == NULL)                                                                                 \
            abort();                                                                                      \
        va_start(more, flags);                                                                            \
        if (flags & O_CREAT)                                                                              \
            mode = va_arg(more, mode_t);                                                                  \
        va_end(more);                                                                                     \
        if (flags & O_CREAT)                                                                              \
            step();                                                                                       \
        return real(path, flags, mode);                                                                   \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
