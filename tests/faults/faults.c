/* Makes calls that the recorder makes to the C library fail, and no others: those of the modules _recorder*.so and libzstd,
 * which the return address identifies. Preloaded into the interpreter (LD_PRELOAD), or into the converter.
 *
 *     FAULT_CALL=write        which function; see the list at the end
 *     FAULT_NTH=3             which of its calls, from 1, in this process or, after a fork, its parent
 *     FAULT_ERRNO=ENOSPC      ENOSPC, EIO, EINTR, ENOMEM, EMFILE, EACCES, EROFS, EAGAIN; short: half of it is written or read;
 *                             torn: half of it is written, and the next write finds the disk full; wait: it succeeds, but
 *                             not before faults_release() is called
 *     FAULT_FOREVER=1         all calls from that one on
 *     FAULT_REPORT=PATH       a file that is made when the fault is reached
 *     FAULT_PROGRAM=1         calls of the program itself fail, too: for the converter
 *
 * FAULT_CALL=clock: from that reading of CLOCK_REALTIME on the clock is an hour ahead or, with FAULT_ERRNO=back, slow.
 * A program that has the library in it can do the same by faults_set() and ask faults_reached(), which is also true when one
 * of its children has reached it. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define STEP_S 3600

static const struct { const char *name; int number; } errors[] = {
    { "ENOSPC", ENOSPC }, { "EIO", EIO }, { "EINTR", EINTR }, { "ENOMEM", ENOMEM }, { "EMFILE", EMFILE },
    { "EACCES", EACCES }, { "EROFS", EROFS }, { "EAGAIN", EAGAIN } };

static struct {
    char call[32];
    long nth;
    int number;                         /* of the error; 0: short, torn or back */
    bool is_back, is_forever, is_torn, waits;
    const char *report_path;           /* of the file that is made when the fault is reached; or NULL */
    _Atomic long n;                     /* calls so far */
    _Atomic bool *is_reached;           /* by any process: shared */
    _Atomic bool is_released;
} fault;

static struct { uintptr_t begin, end; } modules[2];     /* of which calls fail */
static _Atomic int n_modules;

/* ---- whose call is it ---- */

static int note_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    int n = atomic_load(&n_modules);
    bool is_ours = strstr(info->dlpi_name, "/_recorder.") || strstr(info->dlpi_name, "/libzstd.so") ||
                   (!*info->dlpi_name && getenv("FAULT_PROGRAM"));
    if (n == 2 || !is_ours)
        return 0;
    modules[n].begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = begin + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        modules[n].begin = begin < modules[n].begin ? begin : modules[n].begin;
        modules[n].end = end > modules[n].end ? end : modules[n].end;
    }
    atomic_store(&n_modules, n + 1);
    return 0;
}

/* The interpreter loads the recorder so. */
EXPORT void *dlopen(const char *path, int flags)
{
    void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    void *handle = real(path, flags);
    if (handle && path && strstr(path, "/_recorder.") && !atomic_load(&n_modules))
        dl_iterate_phdr(note_module, NULL);
    return handle;
}

/* Returns 0, or 1 when the call is the one that is to fail, 2 when it comes after it. */
static int is_due(const char *call, const void *caller)
{
    bool is_ours = false;
    for (int i = 0; i < atomic_load(&n_modules); i++)
        is_ours |= (uintptr_t)caller - modules[i].begin < modules[i].end - modules[i].begin;
    if (!is_ours || strcmp(fault.call, call) != 0)
        return 0;
    long after = atomic_fetch_add(&fault.n, 1) + 1 - fault.nth;
    if (after < 0 || (after > 0 && !fault.is_forever && !(after == 1 && fault.is_torn)))
        return 0;
    if (!atomic_exchange(fault.is_reached, true) && fault.report_path) {
        long fd = syscall(SYS_openat, AT_FDCWD, fault.report_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        syscall(SYS_close, fd);
    }
    while (fault.waits && !atomic_load(&fault.is_released))
        usleep(1000);
    return fault.waits ? 0 : after ? 2 : 1;
}

/* True when the call is to fail: then errno is set. */
static bool fails(const char *call, const void *caller)
{
    if (!is_due(call, caller))
        return false;
    errno = fault.number;
    return true;
}

/* How many bytes a call is to move: size, half of it, or none for a failure. */
static ssize_t part(const char *call, const void *caller, size_t size)
{
    int due = is_due(call, caller);
    if (!due)
        return (ssize_t)size;
    errno = fault.is_torn ? ENOSPC : fault.number;
    return fault.number || (fault.is_torn && due == 2) ? -1 : (ssize_t)(size + 1) / 2;
}

EXPORT void faults_set(const char *call, long nth, const char *error, int is_forever)
{
    fault.call[0] = 0;
    fault.nth = nth;
    fault.number = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(errors[i].name, error) == 0)
            fault.number = errors[i].number;
    fault.is_back = strcmp(error, "back") == 0;
    fault.is_torn = strcmp(error, "torn") == 0;
    fault.waits = strcmp(error, "wait") == 0;
    atomic_store(&fault.is_released, false);
    fault.is_forever = is_forever;
    atomic_store(&fault.n, 0);
    atomic_store(fault.is_reached, false);
    strncpy(fault.call, call, sizeof fault.call - 1);
}

EXPORT void faults_release(void)
{
    atomic_store(&fault.is_released, true);
}

EXPORT int faults_reached(void)
{
    return atomic_load(fault.is_reached);
}

static void __attribute__((constructor)) begin(void)
{
    fault.is_reached = mmap(NULL, sizeof *fault.is_reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fault.is_reached == MAP_FAILED)
        abort();
    const char *call = getenv("FAULT_CALL"), *nth = getenv("FAULT_NTH"), *error = getenv("FAULT_ERRNO");
    if (call)
        faults_set(call, nth ? strtol(nth, NULL, 10) : 1, error ? error : "", getenv("FAULT_FOREVER") != NULL);
    fault.report_path = getenv("FAULT_REPORT");
    if (getenv("FAULT_PROGRAM"))
        dl_iterate_phdr(note_module, NULL);
}

/* ---- the calls ---- */

#define CALLER __builtin_return_address(0)
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A function that returns `bad` when it fails. */
#define CALL(type, name, parameters, arguments, bad)                                                                   \
    EXPORT type name parameters                                                                                       \
    {                                                                                                                  \
        static __typeof__(&name) real;                                                                                 \
        if (!real)                                                                                                     \
            real = REAL(name);                                                                                         \
        return fails(#name, CALLER) ? bad : real arguments;                                                            \
    }

CALL(int, ftruncate, (int fd, off_t size), (fd, size), -1)
CALL(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size), fault.number)
CALL(void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t from), (at, size, access, flags, fd, from),
     MAP_FAILED)
CALL(int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1)
CALL(char *, strdup, (const char *s), (s), NULL)
CALL(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (thread, attr, run, arg), fault.number)
CALL(int, pthread_getattr_np, (pthread_t thread, pthread_attr_t *attr), (thread, attr), fault.number)
CALL(int, link, (const char *from, const char *to), (from, to), -1)
CALL(int, rename, (const char *from, const char *to), (from, to), -1)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
CALL(int, unlink, (const char *path), (path), -1)
CALL(int, rmdir, (const char *path), (path), -1)
CALL(DIR *, opendir, (const char *path), (path), NULL)
CALL(int, fstat, (int fd, struct stat *st), (fd, st), -1)
CALL(int, lstat, (const char *path, struct stat *st), (path, st), -1)
CALL(int, stat, (const char *path, struct stat *st), (path, st), -1)
CALL(int, access, (const char *path, int mode), (path, mode), -1)
CALL(int, flock, (int fd, int operation), (fd, operation), -1)
CALL(char *, getcwd, (char *path, size_t size), (path, size), NULL)
CALL(off_t, lseek, (int fd, off_t at, int from), (fd, at, from), -1)

EXPORT int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    va_start(args, flags);
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        mode = va_arg(args, mode_t);
    va_end(args);
    return fails("open", CALLER) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORT int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return fails("fcntl", CALLER) ? -1 : REAL(fcntl)(fd, command, arg);
}

EXPORT ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t n = part("write", CALLER, size);
    return n < 0 ? n : syscall(SYS_write, fd, bytes, (size_t)n);
}

EXPORT ssize_t read(int fd, void *bytes, size_t size)
{
    ssize_t n = part("read", CALLER, size);
    return n < 0 ? n : syscall(SYS_read, fd, bytes, (size_t)n);
}

EXPORT ssize_t pread(int fd, void *bytes, size_t size, off_t at)
{
    ssize_t n = part("pread", CALLER, size);
    return n < 0 ? n : syscall(SYS_pread64, fd, bytes, (size_t)n, at);
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *t)
{
    static __typeof__(&clock_gettime) real;
    if (!real)
        real = REAL(clock_gettime);
    int code = real(clock, t);
    if (clock == CLOCK_REALTIME && is_due("clock", CALLER))
        t->tv_sec += fault.is_back ? -STEP_S : STEP_S;
    return code;
}

/* glibc's own names: dlsym may allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *at, size_t size);

EXPORT void *malloc(size_t size)
{
    return fails("malloc", CALLER) ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return fails("calloc", CALLER) ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *at, size_t size)
{
    return fails("realloc", CALLER) ? NULL : __libc_realloc(at, size);
}
