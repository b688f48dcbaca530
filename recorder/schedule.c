/* The ring and its records are those of perf_event_open(2). The mapping keeps the event alive when the descriptor is closed, and a
 * forked child does not get it. Where a filter of system calls is in force, nothing is tried: it may kill a process that
 * calls what it does not list. */
#include "schedule.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "../format/file.h"

#define CHANGE_SIZE 16                  /* bytes of a change in the ring */
#define RING_SIZE (REC_SCHEDULE_MAX_CHANGES * CHANGE_SIZE)     /* of a ring that is used; the kernel's page is before it */
#define MAX_RINGS 24
#define LOCKED_SHARE 4                  /* rings lock up to this part of what the user may lock */
#define READ_SIZE 4096

/* ---- the event ---- */

/* Returns a descriptor, or -1 and errno. native_id 0: the calling thread. */
static int open_event(uint32_t native_id)
{
    struct perf_event_attr attr = {
        .size = sizeof attr, .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY, .sample_type = PERF_SAMPLE_TIME,
        .sample_id_all = 1, .context_switch = 1, .exclude_kernel = 1, .exclude_hv = 1, .use_clockid = 1,
        .clockid = CLOCK_MONOTONIC, .watermark = 1, .wakeup_watermark = UINT32_MAX };
    return rec_file_move_up((int)syscall(SYS_perf_event_open, &attr, (pid_t)native_id, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

/* Returns the mode of the filter of system calls that the calling thread has, '0' for none; 0: it cannot be read. */
static char read_filter_mode(void)
{
    static const char key[] = "\nSeccomp:\t";
    char text[READ_SIZE + 1], mode = 0;
    size_t kept = 0;                    /* of what was read before: a part of the key may be its end */
    ssize_t n = 1;
    int fd = rec_file_move_up(pnr_file_open("/proc/thread-self/status", O_RDONLY));
    for (off_t at = 0; fd >= 0 && !mode && n > 0; at += n) {
        n = pnr_file_read(fd, text + kept, READ_SIZE - kept, at);
        size_t size = kept + (n > 0 ? (size_t)n : 0);
        text[size] = 0;
        const char *found = strstr(text, key);
        mode = found ? found[sizeof key - 1] : 0;
        kept = size < sizeof key - 1 ? size : sizeof key - 1;
        memmove(text, text + size - kept, kept);
    }
    if (fd >= 0)
        close(fd);
    return mode;
}

/* Returns why no schedule may be asked for; NULL: it may be. */
static const char *find_filter(void)
{
    char mode = read_filter_mode();
    return !mode ? "whether a filter of system calls is in force cannot be read" :
           mode != '0' ? "a filter of system calls is in force" : NULL;
}

/* True when CLOCK_MONOTONIC of this process is not the machine's, which the kernel's reports have. */
static bool has_own_clock(void)
{
    char text[256];
    long long seconds = 0;
    long nanoseconds = 0;
    int fd = rec_file_move_up(pnr_file_open("/proc/self/timens_offsets", O_RDONLY));
    ssize_t size = fd >= 0 ? pnr_file_read(fd, text, sizeof text - 1, 0) : -1;
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = 0;
    sscanf(text, "monotonic %lld %ld", &seconds, &nanoseconds);
    return seconds || nanoseconds;
}

/* ---- the ring ---- */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* The kernel wants a power of two of whole pages. */
static size_t ring_size(void)
{
    return page_size() > RING_SIZE ? page_size() : RING_SIZE;
}

/* Locked memory is the user's: the program may need it, and so may others of the user. */
static size_t count_max_rings(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return 0;
    rlim_t n = limit.rlim_cur / LOCKED_SHARE / (page_size() + ring_size());
    return n < MAX_RINGS ? (size_t)n : MAX_RINGS;
}

/* Returns NULL, or what failed and errno. */
static const char *map_ring(struct rec_schedule *schedule, uint32_t native_id)
{
    int fd = open_event(native_id);
    if (fd < 0)
        return "perf_event_open";
    void *ring = mmap(NULL, page_size() + ring_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int mmap_errno = errno;
    close(fd);
    errno = mmap_errno;
    if (ring == MAP_FAILED)
        return "mmap";
    schedule->ring = ring;
    return NULL;
}

bool rec_schedule_open(struct rec_schedule *schedule, uint32_t native_id, char *why, size_t size)
{
    *schedule = (struct rec_schedule){ .ring = NULL };
    why[0] = 0;
    const char *filter = find_filter();
    const char *failed = filter ? NULL : map_ring(schedule, native_id);
    if (filter)
        snprintf(why, size, "%s", filter);
    else if (failed && errno != ESRCH)
        snprintf(why, size, "%s: %s", failed, strerror(errno));
    return schedule->ring;
}

size_t rec_schedule_probe(char *text, size_t size)
{
    char why[REC_SCHEDULE_WHY_SIZE] = "";
    struct rec_schedule schedule = { .ring = NULL };
    size_t max_rings = count_max_rings();
    if (has_own_clock())
        snprintf(why, sizeof why, "the process has a clock of its own (time namespace)");
    else if (!max_rings)
        snprintf(why, sizeof why, "no memory may be locked (RLIMIT_MEMLOCK)");
    else
        rec_schedule_open(&schedule, 0, why, sizeof why);
    bool is_exact = schedule.ring;
    rec_schedule_close(&schedule);
    snprintf(text, size, is_exact ? "exact" : "sampled: %s", why);
    return is_exact ? max_rings : 0;
}

size_t rec_schedule_look(struct rec_schedule *schedule)
{
    const struct perf_event_mmap_page *page = schedule->ring;
    if (!page)
        return 0;
    schedule->end = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t n = (schedule->end - schedule->read + CHANGE_SIZE - 1) / CHANGE_SIZE;
    return n < REC_SCHEDULE_MAX_CHANGES ? n : REC_SCHEDULE_MAX_CHANGES;
}

/* Returns the word at a position, a multiple of 8. */
static uint64_t read_ring_word(const struct rec_schedule *schedule, uint64_t at)
{
    uint64_t word;
    memcpy(&word, (const char *)schedule->ring + page_size() + at % ring_size(), sizeof word);
    return word;
}

static struct perf_event_header read_ring_header(const struct rec_schedule *schedule)
{
    struct perf_event_header header;
    uint64_t word = read_ring_word(schedule, schedule->read);
    memcpy(&header, &word, sizeof header);
    return header;
}

/* Lets the kernel write over what has been read. */
static void release_read(struct rec_schedule *schedule)
{
    struct perf_event_mmap_page *page = schedule->ring;
    __atomic_store_n(&page->data_tail, schedule->read, __ATOMIC_RELEASE);
}

/* A full ring has no space for the kernel's report that changes are missing. */
static bool was_full(const struct rec_schedule *schedule)
{
    const struct perf_event_mmap_page *page = schedule->ring;
    return schedule->end - page->data_tail > RING_SIZE - 4 * CHANGE_SIZE;
}

bool rec_schedule_next(struct rec_schedule *schedule, struct rec_schedule_change *change)
{
    if (!schedule->ring || schedule->read >= schedule->end)
        return false;
    struct perf_event_header header = read_ring_header(schedule);
    *change = (struct rec_schedule_change){ 0, PNR_SCHEDULE_MISSING };
    if (header.type == PERF_RECORD_SWITCH && header.size == CHANGE_SIZE && !was_full(schedule)) {
        change->what = !(header.misc & PERF_RECORD_MISC_SWITCH_OUT) ? PNR_SCHEDULE_RUNS :
                       header.misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT ? PNR_SCHEDULE_QUEUES : PNR_SCHEDULE_WAITS;
        change->ns = read_ring_word(schedule, schedule->read + 8);
        schedule->read += header.size;
    } else {
        schedule->read = schedule->end;
    }
    if (schedule->read >= schedule->end)
        release_read(schedule);
    return true;
}

void rec_schedule_close(struct rec_schedule *schedule)
{
    if (schedule->ring)
        munmap(schedule->ring, page_size() + ring_size());
    rec_schedule_forget(schedule);
}

void rec_schedule_forget(struct rec_schedule *schedule)
{
    *schedule = (struct rec_schedule){ .ring = NULL };
}
