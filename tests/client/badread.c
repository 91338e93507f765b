/* Lets reading or opening some files fail as a driver or a dying card would, or take its time:
 * preloaded into a program. BADREAD is "part of a path=errno:seconds,…", of files that are read;
 * errno 0 only waits. BADOPEN is the same for files that are opened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fault(const char *variable, const char *path)
{
    char rules[4096] = "", *rest = rules, *rule;
    if (getenv(variable))
        snprintf(rules, sizeof rules, "%s", getenv(variable));
    while ((rule = strsep(&rest, ",")) != NULL) {
        char *what = strrchr(rule, '=');
        if (what == NULL)
            continue;
        *what++ = '\0';
        if (strstr(path, rule) == NULL)
            continue;
        int error = strtol(what, &what, 10);
        if (*what == ':')
            usleep(strtod(what + 1, NULL) * 1e6);
        if (error)
            return error;
    }
    return 0;
}

static int read_fault(int file)
{
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return readlink(link, path, sizeof path - 1) > 0 ? fault("BADREAD", path) : 0;
}

#define FAIL(error) if ((errno = error)) return -1

ssize_t read(int file, void *buffer, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    FAIL(read_fault(file));
    return real(file, buffer, size);
}

ssize_t pread64(int file, void *buffer, size_t size, off64_t from)
{
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    FAIL(read_fault(file));
    return real(file, buffer, size, from);
}

int open64(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    va_list mode;
    va_start(mode, flags);
    FAIL(fault("BADOPEN", path));
    return real(path, flags, va_arg(mode, int));
}
