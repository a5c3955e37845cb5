/* LD_PRELOAD: calls that change files below $FAULT_ROOT are counted over all processes; one of them goes wrong.
 *
 *     open for writing, write, rename, mkdir, truncate, copy, unlink --n-th--> full | errno | kill | term
 *
 * $FAULT_MODE  full: from the n-th on, what needs room has none (ENOSPC; the n-th write fits half)
 *              a number: the n-th fails with that errno, the others do not
 *              sticky:NUMBER: all from the n-th on do (a folder that is read-only, a disk that has gone)
 *              kill: at the n-th (a write fits half) the whole process group gets SIGKILL
 *              term, int: at the n-th the first process gets SIGTERM, SIGINT
 *              clock: nothing fails; the wall clock jumps by 400 days, back and forth, each time it is read
 * $FAULT_AT    n, from 1; 0 = count alone
 * $FAULT_COUNT a file of 8 bytes, shared: the counter       $FAULT_LOG  a line for each call
 *
 * What a descriptor is, /proc says: dup and inheritance need no book-keeping. stdio's own writes stay inside
 * libc and are not seen; their fopen is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode { COUNT, FULL, ONCE, STICKY, KILL, TERM, CLOCK };
enum need { ROOM, NO_ROOM }; /* whether a full disk is in the way */

static char root[PATH_MAX];
static size_t root_length;
static enum mode mode = COUNT;
static int64_t at;
static int error_number, end_signal, log_descriptor = -1;
static pid_t first;
static int64_t *counter;

__attribute__((constructor)) static void begin(void) {
    const char *named = getenv("FAULT_ROOT"), *how = getenv("FAULT_MODE"), *when = getenv("FAULT_AT");
    const char *count = getenv("FAULT_COUNT"), *book = getenv("FAULT_LOG");
    if (!named || !how || !when || !count) return;
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("FAULT_FIRST", pid, 0);
    first = (pid_t)atoi(getenv("FAULT_FIRST"));
    at = atoll(when);
    if (!strcmp(how, "full")) mode = FULL, error_number = ENOSPC;
    else if (!strcmp(how, "kill")) mode = KILL;
    else if (!strcmp(how, "clock")) mode = CLOCK;
    else if (!strcmp(how, "term")) mode = TERM, end_signal = SIGTERM;
    else if (!strcmp(how, "int")) mode = TERM, end_signal = SIGINT;
    else if (!strncmp(how, "sticky:", 7)) mode = STICKY, error_number = atoi(how + 7);
    else mode = ONCE, error_number = atoi(how);
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, count, O_RDWR | O_CLOEXEC, 0);
    if (descriptor < 0) return;
    void *shared = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    syscall(SYS_close, descriptor);
    if (shared == MAP_FAILED) return;
    if (book) log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, book, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    strncpy(root, named, sizeof root - 1);
    root_length = strlen(root);
    counter = shared;
}

static int below(const char *path) {
    return counter && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int watched_descriptor(int descriptor, char *path) {
    if (!counter) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int watched_path(int folder, const char *name, char *path) {
    if (!counter || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return below(path);
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(path, PATH_MAX)) return 0;
    } else if (!watched_descriptor(folder, path)) return 0;
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
    return below(path);
}

/* 1 = do it, 0 = errno is set, 2 = do half of it, 3 = half of it, then die */
static int verdict(const char *call, const char *path, enum need need) {
    int64_t n = __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    if (log_descriptor >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%lld %d %s %s\n", (long long)n, (int)getpid(), call, path);
        if (length > 0) syscall(SYS_write, log_descriptor, line, (size_t)length);
    }
    if (!at || mode == COUNT || mode == CLOCK || n < at) return 1;
    if (mode == FULL) {
        if (need == NO_ROOM) return 1;
        errno = error_number;
        return n == at ? 2 : 0;
    }
    if (mode == STICKY || (mode == ONCE && n == at)) {
        errno = error_number;
        return 0;
    }
    if (mode == KILL && n == at) return 3;
    if (mode == TERM && n == at) kill(first, end_signal);
    return 1;
}

static void die(void) {
    kill(0, SIGKILL);
    for (;;) pause();
}

/* for calls that have no halves */
static int allowed(const char *call, const char *path, enum need need) {
    int how = verdict(call, path, need);
    if (how == 3) die();
    if (how == 2) errno = error_number;
    return how == 1;
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

#define OPEN_BODY(folder, call)                                                   \
    mode_t bits = 0;                                                              \
    if (flags & (O_CREAT | O_TMPFILE)) {                                          \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        bits = va_arg(rest, mode_t);                                              \
        va_end(rest);                                                             \
    }                                                                             \
    char path[PATH_MAX];                                                          \
    if (writes(flags) && watched_path(folder, name, path) && !allowed("open", path, ROOM)) return -1; \
    return call

int open(const char *name, int flags, ...) { OPEN_BODY(AT_FDCWD, REAL(open)(name, flags, bits)); }
int open64(const char *name, int flags, ...) { OPEN_BODY(AT_FDCWD, REAL(open64)(name, flags, bits)); }
int openat(int folder, const char *name, int flags, ...) { OPEN_BODY(folder, REAL(openat)(folder, name, flags, bits)); }
int openat64(int folder, const char *name, int flags, ...) { OPEN_BODY(folder, REAL(openat64)(folder, name, flags, bits)); }

FILE *fopen(const char *name, const char *how) {
    char path[PATH_MAX];
    if (strpbrk(how, "wa+") && watched_path(AT_FDCWD, name, path) && !allowed("fopen", path, ROOM)) return NULL;
    return REAL(fopen)(name, how);
}
FILE *fopen64(const char *name, const char *how) {
    char path[PATH_MAX];
    if (strpbrk(how, "wa+") && watched_path(AT_FDCWD, name, path) && !allowed("fopen", path, ROOM)) return NULL;
    return REAL(fopen64)(name, how);
}

#define WRITE_BODY(call_name, whole, half)                   \
    char path[PATH_MAX];                                     \
    if (watched_descriptor(descriptor, path)) {              \
        int how = verdict(call_name, path, ROOM);            \
        if (how == 0) return -1;                             \
        if (how == 2 && size > 1) return half;               \
        if (how == 2) return errno = error_number, -1;       \
        if (how == 3) {                                      \
            if (size > 1) (void)!half;                       \
            die();                                           \
        }                                                    \
    }                                                        \
    return whole

ssize_t write(int descriptor, const void *bytes, size_t size) {
    WRITE_BODY("write", REAL(write)(descriptor, bytes, size), REAL(write)(descriptor, bytes, size / 2));
}
ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t place) {
    WRITE_BODY("pwrite", REAL(pwrite)(descriptor, bytes, size, place), REAL(pwrite)(descriptor, bytes, size / 2, place));
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t place) {
    WRITE_BODY("pwrite", REAL(pwrite64)(descriptor, bytes, size, place), REAL(pwrite64)(descriptor, bytes, size / 2, place));
}
ssize_t writev(int descriptor, const struct iovec *parts, int size) {
    WRITE_BODY("writev", REAL(writev)(descriptor, parts, size), REAL(writev)(descriptor, parts, size / 2));
}
ssize_t sendfile(int descriptor, int from, off_t *place, size_t size) {
    WRITE_BODY("sendfile", REAL(sendfile)(descriptor, from, place, size), REAL(sendfile)(descriptor, from, place, size / 2));
}
ssize_t sendfile64(int descriptor, int from, off64_t *place, size_t size) {
    WRITE_BODY("sendfile", REAL(sendfile64)(descriptor, from, place, size), REAL(sendfile64)(descriptor, from, place, size / 2));
}
ssize_t copy_file_range(int from, off64_t *first_place, int descriptor, off64_t *place, size_t size, unsigned flags) {
    WRITE_BODY("copy", REAL(copy_file_range)(from, first_place, descriptor, place, size, flags),
               REAL(copy_file_range)(from, first_place, descriptor, place, size / 2, flags));
}

int ftruncate(int descriptor, off_t size) {
    char path[PATH_MAX];
    if (watched_descriptor(descriptor, path) && !allowed("truncate", path, NO_ROOM)) return -1;
    return REAL(ftruncate)(descriptor, size);
}
int ftruncate64(int descriptor, off64_t size) {
    char path[PATH_MAX];
    if (watched_descriptor(descriptor, path) && !allowed("truncate", path, NO_ROOM)) return -1;
    return REAL(ftruncate64)(descriptor, size);
}
int fsync(int descriptor) {
    char path[PATH_MAX];
    if (watched_descriptor(descriptor, path) && !allowed("fsync", path, ROOM)) return -1;
    return REAL(fsync)(descriptor);
}

static time_t jumped(void) {
    static int reads;
    return mode == CLOCK ? (__atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST) % 2 ? 400 : -400) * (time_t)86400 : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = REAL(clock_gettime)(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += jumped();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = REAL(gettimeofday)(now, zone);
    if (!failed) now->tv_sec += jumped();
    return failed;
}
time_t time(time_t *now) {
    time_t found = REAL(time)(NULL) + jumped();
    if (now) *now = found;
    return found;
}

#define PATH_CALL(call, named, folder, need, invoke)                                           \
    char path[PATH_MAX];                                                                       \
    if (watched_path(folder, named, path) && !allowed(call, path, need)) return -1;            \
    return invoke

int rename(const char *from, const char *to) { PATH_CALL("rename", to, AT_FDCWD, ROOM, REAL(rename)(from, to)); }
int renameat(int a, const char *from, int b, const char *to) { PATH_CALL("rename", to, b, ROOM, REAL(renameat)(a, from, b, to)); }
int mkdir(const char *name, mode_t bits) { PATH_CALL("mkdir", name, AT_FDCWD, ROOM, REAL(mkdir)(name, bits)); }
int mkdirat(int folder, const char *name, mode_t bits) { PATH_CALL("mkdir", name, folder, ROOM, REAL(mkdirat)(folder, name, bits)); }
int link(const char *from, const char *to) { PATH_CALL("link", to, AT_FDCWD, ROOM, REAL(link)(from, to)); }
int symlink(const char *from, const char *to) { PATH_CALL("symlink", to, AT_FDCWD, ROOM, REAL(symlink)(from, to)); }
int unlink(const char *name) { PATH_CALL("unlink", name, AT_FDCWD, NO_ROOM, REAL(unlink)(name)); }
int unlinkat(int folder, const char *name, int flags) { PATH_CALL("unlink", name, folder, NO_ROOM, REAL(unlinkat)(folder, name, flags)); }
int rmdir(const char *name) { PATH_CALL("rmdir", name, AT_FDCWD, NO_ROOM, REAL(rmdir)(name)); }
int chmod(const char *name, mode_t bits) { PATH_CALL("chmod", name, AT_FDCWD, NO_ROOM, REAL(chmod)(name, bits)); }
