#include "clock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "../format/file.h"

#define SAMPLE_READS 5                  /* the one that took least time is kept */
#define MEASURE_NS 1000000              /* of rec_clock_rate, at least */
#define RESOLUTION_NS 4                 /* of the ticks in blocks */

bool rec_clock_is_counter;
static struct pnr_clock_sample first_sample;

#ifdef __x86_64__
/* True when the kernel derives its own clock from the counter. It compares the counters of all cores, and leaves
 * them where they are not reliable (Linux, arch/x86/kernel/tsc.c and kernel/time/clocksource.c). */
static bool kernel_uses_counter(void)
{
    char name[16] = "";
    int fd = pnr_file_open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY);
    if (fd < 0)
        return true;                    /* a container without /sys: CPUID alone decides */
    ssize_t size = pnr_file_read(fd, name, sizeof name - 1, 0);
    close(fd);
    return size > 0 && (strncmp(name, "tsc", 3) == 0 || strncmp(name, "kvm-clock", 9) == 0 ||
                        strncmp(name, "hyperv", 6) == 0);
}

static bool has_counter(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8) && kernel_uses_counter();
}
#else
static bool has_counter(void)
{
#ifdef __aarch64__
    return true;                        /* the architecture guarantees one rate on all cores, which never stops */
#else
    return false;
#endif
}
#endif

void rec_clock_init(void)
{
    rec_clock_is_counter = has_counter();
    first_sample = rec_clock_sample();
}

const char *rec_clock_name(void)
{
    if (!rec_clock_is_counter)
        return "monotonic";
#ifdef __aarch64__
    return "cntvct";
#else
    return "tsc";
#endif
}

static uint64_t timespec_ns(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct pnr_clock_sample rec_clock_sample(void)
{
    struct pnr_clock_sample best = { 0 };
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < SAMPLE_READS; i++) {
        struct timespec monotonic, realtime;
        uint64_t before = rec_clock_ticks();
        clock_gettime(CLOCK_MONOTONIC, &monotonic);
        uint64_t width = rec_clock_ticks() - before;
        clock_gettime(CLOCK_REALTIME, &realtime);
        if (width < best_width) {
            best_width = width;
            best = (struct pnr_clock_sample){ before + width / 2, timespec_ns(monotonic), timespec_ns(realtime) };
        }
    }
    return best;
}

uint64_t rec_clock_rate(void)
{
    struct pnr_clock_sample now = rec_clock_sample();
    if (!rec_clock_is_counter)
        return 1000000000;
    uint64_t past = now.monotonic_ns - first_sample.monotonic_ns;
    if (past < MEASURE_NS) {
        nanosleep(&(struct timespec){ 0, (long)(MEASURE_NS - past) }, NULL);
        now = rec_clock_sample();
        past = now.monotonic_ns - first_sample.monotonic_ns;
    }
    return (uint64_t)((unsigned __int128)(now.ticks - first_sample.ticks) * 1000000000 / past);
}

uint8_t rec_clock_tick_shift(void)
{
    uint64_t rate = rec_clock_rate();
    uint8_t shift = 0;
    while (UINT64_C(2000000000) << shift <= RESOLUTION_NS * rate)
        shift++;
    return shift;
}
