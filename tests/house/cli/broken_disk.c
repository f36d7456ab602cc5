/* A disk that fails under a running server: writes to the files named by BROKEN (a part of their path) fail with EIO
 * once the file named by BROKEN_WHEN is there, until the server has started anew by itself. Loaded with LD_PRELOAD by
 * the test beside it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int broken(int fd) {
    const char *when = getenv("BROKEN_WHEN"), *what = getenv("BROKEN");
    char link[64], path[4096];
    if (!when || !what || getenv("PENFOLD_RESTARTED") || access(when, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (!strstr(path, what)) return 0;
    errno = EIO;
    return 1;
}

#define OR_BROKEN(type, name, parameters, fd, arguments)               \
    type name parameters {                                             \
        static type (*real) parameters;                                \
        if (broken(fd)) return -1;                                     \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);          \
        return real arguments;                                         \
    }

OR_BROKEN(ssize_t, write, (int fd, const void *buf, size_t n), fd, (fd, buf, n))
OR_BROKEN(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t at), fd, (fd, buf, n, at))
OR_BROKEN(ssize_t, pwrite64, (int fd, const void *buf, size_t n, off64_t at), fd, (fd, buf, n, at))
OR_BROKEN(int, fsync, (int fd), fd, (fd))
OR_BROKEN(int, fdatasync, (int fd), fd, (fd))
OR_BROKEN(int, sync_file_range, (int fd, off64_t at, off64_t n, unsigned int flags), fd, (fd, at, n, flags))
