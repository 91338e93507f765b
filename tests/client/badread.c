/* Lets read() of some files fail as a driver would, or take its time: preloaded into a program.
 * BADREAD is "part of a path=errno:seconds,…"; errno 0 only waits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t read(int file, void *buffer, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    char link[64], path[PATH_MAX] = "", rules[4096] = "", *rest = rules, *rule;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) > 0 && getenv("BADREAD"))
        snprintf(rules, sizeof rules, "%s", getenv("BADREAD"));
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
        if (error) {
            errno = error;
            return -1;
        }
    }
    return real(file, buffer, size);
}
