/* Writes down what a process does to the files below one directory: what it writes and where, the names it makes and
 * takes away, and what it has asked the system to put on the disk. Loaded with LD_PRELOAD by the test beside it.
 *
 * The process's own calls are stopped by a seccomp filter and done here, in the signal handler, since some of them never
 * pass through libc. A call done here carries a number in its sixth argument, which none of these calls has, and passes
 * the filter. One lock makes one order of all threads; a sync holds it only to write down its beginning and its end.
 *
 * RECORD_UNDER is the directory, RECORD_TO the file that is written. Linux on x86-64 only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#define PASS 0x7e1f01d5L /* in the sixth argument of what is done here */
#define ROOM ((uint64_t)8 << 30)
#define PATH 4200

/* The kinds of record; trace.rs has the same numbers. */
enum { CREATE = 1, MAKE_DIR, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, SYNC_BEGINS, SYNC_ENDS, UNKNOWN };

struct record {
    uint32_t kind, names, octets, zero;
    uint64_t inode, at;
};

static _Atomic uint64_t *published; /* How far the trace goes: the file's first eight octets. */
static char *trace;
static char under[PATH];
static size_t under_length;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static _Atomic uint64_t syncs = 1;

static long call(long number, long a, long b, long c, long d, long e) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = PASS;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void lock(void) {
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) call(SYS_sched_yield, 0, 0, 0, 0, 0);
}

static void unlock(void) { atomic_flag_clear_explicit(&busy, memory_order_release); }

/* Appends a record. `vector` holds its octets, of which `octets` count. With the lock held. */
static void put(uint32_t kind, uint64_t inode, uint64_t at, const char *names, size_t names_length,
                const struct iovec *vector, size_t octets) {
    uint64_t begin = atomic_load(published), end = begin + sizeof(struct record);
    uint64_t total = (end + names_length + octets + 7) / 8 * 8;
    if (total > ROOM) _exit(99);
    struct record record = {kind, (uint32_t)names_length, (uint32_t)octets, 0, inode, at};
    memcpy(trace + begin, &record, sizeof record);
    memcpy(trace + end, names, names_length);
    end += names_length;
    while (octets > 0) {
        size_t part = vector->iov_len < octets ? vector->iov_len : octets;
        memcpy(trace + end, vector->iov_base, part);
        end += part, octets -= part, vector++;
    }
    atomic_store(published, total);
}

/* The path below the directory that (at, path) names, or null: "" is the directory itself. */
static const char *below(int at, const char *path, char *full) {
    size_t length = 0;
    full[0] = 0;
    if (path[0] != '/') {
        char link[64];
        if (at == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        long n = call(SYS_readlink, (long)link, (long)full, PATH - 2, 0, 0);
        if (n <= 0) return NULL;
        length = (size_t)n;
        if (path[0]) full[length++] = '/';
    }
    size_t rest = strlen(path);
    if (length + rest >= PATH - 1) return NULL;
    memcpy(full + length, path, rest + 1);
    if (strncmp(full, under, under_length) != 0) return NULL;
    const char *tail = full + under_length;
    if (*tail == 0) return tail;
    return *tail == '/' ? tail + 1 : NULL;
}

/* Whether a descriptor is a file or directory below; its inode. */
static int ours(int fd, uint64_t *inode) {
    struct stat found;
    char full[PATH];
    if (call(SYS_fstat, fd, (long)&found, 0, 0, 0) != 0) return 0;
    if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) return 0;
    *inode = found.st_ino;
    return below(fd, "", full) != NULL;
}

static uint64_t inode_of(int at, const char *path) {
    struct stat found;
    return call(SYS_newfstatat, at, (long)path, (long)&found, AT_SYMLINK_NOFOLLOW, 0) == 0 ? found.st_ino : 0;
}

static void say_unknown(const char *what) { put(UNKNOWN, 0, 0, what, strlen(what), NULL, 0); }

static long opens(long at, const char *path, long flags, long mode) {
    char full[PATH];
    const char *name = below((int)at, path, full);
    if (!name || !(flags & (O_CREAT | O_TRUNC | O_SYNC | O_DSYNC)))
        return call(SYS_openat, at, (long)path, flags, mode, 0);
    lock();
    uint64_t before = inode_of((int)at, path);
    long fd = call(SYS_openat, at, (long)path, flags, mode, 0);
    if (fd >= 0) {
        struct stat now;
        call(SYS_fstat, fd, (long)&now, 0, 0, 0);
        if (flags & O_DSYNC) say_unknown("a file that syncs by itself");
        if (!before) put(CREATE, now.st_ino, 0, name, strlen(name), NULL, 0);
        else if (flags & O_TRUNC) put(TRUNCATE, now.st_ino, 0, NULL, 0, NULL, 0);
    }
    unlock();
    return fd;
}

static long writes(long number, int fd, const struct iovec *vector, const long *a) {
    uint64_t inode;
    if (!ours(fd, &inode)) return call(number, a[0], a[1], a[2], a[3], a[4]);
    lock();
    long done = call(number, a[0], a[1], a[2], a[3], a[4]);
    if (done > 0) {
        uint64_t at = number == SYS_pwrite64 || number == SYS_pwritev
                          ? (uint64_t)a[3]
                          : (uint64_t)(call(SYS_lseek, fd, 0, SEEK_CUR, 0, 0) - done);
        put(WRITE, inode, at, NULL, 0, vector, (size_t)done);
    }
    unlock();
    return done;
}

static long on_file(long number, const long *a) {
    uint64_t inode;
    if (!ours((int)a[0], &inode)) return call(number, a[0], a[1], a[2], a[3], a[4]);
    lock();
    long done = call(number, a[0], a[1], a[2], a[3], a[4]);
    if (done == 0 && number == SYS_ftruncate) put(TRUNCATE, inode, (uint64_t)a[1], NULL, 0, NULL, 0);
    if (done == 0 && number == SYS_fallocate) {
        if (a[1] != 0) say_unknown("fallocate in some mode");
        put(ALLOCATE, inode, (uint64_t)(a[2] + a[3]), NULL, 0, NULL, 0);
    }
    unlock();
    return done;
}

static long syncs_it(long number, const long *a) {
    uint64_t inode;
    if (!ours((int)a[0], &inode)) return call(number, a[0], 0, 0, 0, 0);
    uint64_t which = atomic_fetch_add(&syncs, 1);
    lock();
    put(SYNC_BEGINS, inode, which, NULL, 0, NULL, 0);
    unlock();
    long done = call(number, a[0], 0, 0, 0, 0);
    if (done == 0) {
        lock();
        put(SYNC_ENDS, inode, which, NULL, 0, NULL, 0);
        unlock();
    }
    return done;
}

static long makes_dir(long at, const char *path, long mode) {
    char full[PATH];
    const char *name = below((int)at, path, full);
    if (!name) return call(SYS_mkdirat, at, (long)path, mode, 0, 0);
    lock();
    long done = call(SYS_mkdirat, at, (long)path, mode, 0, 0);
    if (done == 0) put(MAKE_DIR, inode_of((int)at, path), 0, name, strlen(name), NULL, 0);
    unlock();
    return done;
}

static long unlinks(long at, const char *path, long flags) {
    char full[PATH];
    const char *name = below((int)at, path, full);
    if (!name) return call(SYS_unlinkat, at, (long)path, flags, 0, 0);
    lock();
    long done = call(SYS_unlinkat, at, (long)path, flags, 0, 0);
    if (done == 0) put(UNLINK, 0, 0, name, strlen(name), NULL, 0);
    unlock();
    return done;
}

static long renames(long from_at, const char *from, long to_at, const char *to, long flags) {
    char full[PATH], both[2 * PATH];
    const char *name = below((int)from_at, from, full);
    size_t first = name ? strlen(name) + 1 : 0;
    if (name) memcpy(both, name, first);
    const char *target = below((int)to_at, to, full);
    if (!name && !target) return call(SYS_renameat2, from_at, (long)from, to_at, (long)to, flags);
    lock();
    uint64_t inode = inode_of((int)from_at, from);
    long done = call(SYS_renameat2, from_at, (long)from, to_at, (long)to, flags);
    if (done == 0 && name && target && !flags) {
        size_t second = strlen(target);
        memcpy(both + first, target, second);
        put(RENAME, inode, 0, both, first + second, NULL, 0);
    } else if (done == 0) {
        say_unknown("a rename from or to another directory, or an exchange");
    }
    unlock();
    return done;
}

static long does(long number, const long *a) {
    struct iovec one = {(void *)a[1], (size_t)a[2]};
    switch (number) {
    case SYS_open: return opens(AT_FDCWD, (const char *)a[0], a[1], a[2]);
    case SYS_creat: return opens(AT_FDCWD, (const char *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_openat: return opens(a[0], (const char *)a[1], a[2], a[3]);
    case SYS_write:
    case SYS_pwrite64: return writes(number, (int)a[0], &one, a);
    case SYS_writev:
    case SYS_pwritev: return writes(number, (int)a[0], (const struct iovec *)a[1], a);
    case SYS_ftruncate:
    case SYS_fallocate: return on_file(number, a);
    case SYS_fsync:
    case SYS_fdatasync: return syncs_it(number, a);
    case SYS_mkdir: return makes_dir(AT_FDCWD, (const char *)a[0], a[1]);
    case SYS_mkdirat: return makes_dir(a[0], (const char *)a[1], a[2]);
    case SYS_unlink: return unlinks(AT_FDCWD, (const char *)a[0], 0);
    case SYS_rmdir: return unlinks(AT_FDCWD, (const char *)a[0], AT_REMOVEDIR);
    case SYS_unlinkat: return unlinks(a[0], (const char *)a[1], a[2]);
    case SYS_rename: return renames(AT_FDCWD, (const char *)a[0], AT_FDCWD, (const char *)a[1], 0);
    case SYS_renameat: return renames(a[0], (const char *)a[1], a[2], (const char *)a[3], 0);
    case SYS_renameat2: return renames(a[0], (const char *)a[1], a[2], (const char *)a[3], a[4]);
    default: return -ENOSYS;
    }
}

static void stopped(int signal, siginfo_t *info, void *context) {
    (void)signal;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    long a[5] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8]};
    int kept = errno;
    r[REG_RAX] = does(info->si_syscall, a);
    errno = kept;
}

#define STOP(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
/* Ways to change a file that are not written down: whoever tries one is told that there is no such thing. */
#define REFUSE(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)

static void stop_calls(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PASS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        STOP(SYS_open), STOP(SYS_creat), STOP(SYS_openat), STOP(SYS_write), STOP(SYS_pwrite64), STOP(SYS_writev),
        STOP(SYS_pwritev), STOP(SYS_ftruncate), STOP(SYS_fallocate), STOP(SYS_fsync), STOP(SYS_fdatasync),
        STOP(SYS_mkdir), STOP(SYS_mkdirat), STOP(SYS_unlink), STOP(SYS_rmdir), STOP(SYS_unlinkat), STOP(SYS_rename),
        STOP(SYS_renameat), STOP(SYS_renameat2),
        REFUSE(SYS_pwritev2), REFUSE(SYS_copy_file_range), REFUSE(SYS_sendfile), REFUSE(SYS_io_uring_setup),
        REFUSE(SYS_openat2), REFUSE(SYS_link), REFUSE(SYS_linkat), REFUSE(SYS_truncate),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    struct sigaction action = {.sa_sigaction = stopped, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(98);
}

__attribute__((constructor)) static void begin(void) {
    const char *to = getenv("RECORD_TO"), *directory = getenv("RECORD_UNDER");
    if (!to || !directory) return;
    under_length = strlen(directory);
    if (under_length >= PATH - 1) _exit(97);
    memcpy(under, directory, under_length + 1);
    int fd = open(to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, ROOM) != 0) _exit(96);
    trace = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (trace == MAP_FAILED) _exit(95);
    close(fd);
    published = (_Atomic uint64_t *)trace;
    if (atomic_load(published) == 0) atomic_store(published, 8);
    stop_calls();
}
