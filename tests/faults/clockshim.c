/*
 * A wall clock that a test can set, for one process tree.
 *
 * Preloaded into a program (LD_PRELOAD), it moves CLOCK_REALTIME by the nanoseconds that stand
 * in the file CLOCKSHIM_FILE (one signed 64-bit number, mapped), as soon as they change there.
 * Monotonic clocks are left alone, as when an administrator sets the clock.
 *
 * A timerfd with an absolute time of CLOCK_REALTIME is armed for the moved time. When the number
 * changes, one that asked for TFD_TIMER_CANCEL_ON_SET becomes readable, and its read fails with
 * ECANCELED, as the kernel does it; any other absolute one is armed anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define FILES 4096
#define LOOK_NANOSECONDS 5000000

enum state { PLAIN, REALTIME, ARMED, CANCELLABLE, CANCELLED };

static _Atomic int64_t nowhere;
static _Atomic int64_t *shift = &nowhere;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int states[FILES];
static struct itimerspec wanted[FILES];
static int64_t known[FILES]; /* the shift that the owner of a timer was last told of */

static int real_clock(clockid_t id, struct timespec *at) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    return next(id, at);
}

static void move(struct timespec *at, int64_t by) {
    int64_t nanoseconds = at->tv_nsec + by % SECOND;
    at->tv_sec += by / SECOND;
    if (nanoseconds < 0) { nanoseconds += SECOND; at->tv_sec--; }
    if (nanoseconds >= SECOND) { nanoseconds -= SECOND; at->tv_sec++; }
    at->tv_nsec = nanoseconds;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = real_clock(id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) move(at, *shift);
    return failed;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}

int timespec_get(struct timespec *at, int base) {
    if (base != TIME_UTC) return 0;
    return clock_gettime(CLOCK_REALTIME, at) ? 0 : base;
}

/* Waits until a time of the wall clock: the caller's deadline is moved back to the kernel's. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*next)(sem_t *, const struct timespec *);
    struct timespec moved = *until;
    if (!next) next = dlsym(RTLD_NEXT, "sem_timedwait");
    move(&moved, -*shift);
    return next(semaphore, &moved);
}

static int arm(int fd, int flags, const struct itimerspec *when, struct itimerspec *old) {
    return syscall(SYS_timerfd_settime, fd, flags, when, old);
}

static int arm_moved(int fd, const struct itimerspec *when, struct itimerspec *old) {
    struct itimerspec moved = *when;
    move(&moved.it_value, -*shift);
    if (moved.it_value.tv_sec < 0) moved.it_value = (struct timespec){0, 1}; /* long ago: now */
    return arm(fd, TFD_TIMER_ABSTIME, &moved, old);
}

int timerfd_create(int id, int flags) {
    int fd = syscall(SYS_timerfd_create, id, flags);
    if (fd >= 0 && fd < FILES) {
        states[fd] = id == CLOCK_REALTIME ? REALTIME : PLAIN;
        known[fd] = *shift;
    }
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old) {
    int is_armed = when->it_value.tv_sec || when->it_value.tv_nsec;
    int failed;
    if (fd < 0 || fd >= FILES || states[fd] == PLAIN) return arm(fd, flags, when, old);
    pthread_mutex_lock(&lock);
    if (is_armed && flags & TFD_TIMER_ABSTIME) {
        wanted[fd] = *when;
        failed = arm_moved(fd, when, old);
        states[fd] = flags & TFD_TIMER_CANCEL_ON_SET ? CANCELLABLE : ARMED;
        if (states[fd] == CANCELLABLE && known[fd] != *shift) { /* set while it was not armed */
            known[fd] = *shift;
            errno = ECANCELED;
            failed = -1;
        }
    } else {
        failed = arm(fd, flags, when, old);
        states[fd] = REALTIME;
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

ssize_t read(int fd, void *into, size_t most) {
    int expected = CANCELLED;
    ssize_t found = syscall(SYS_read, fd, into, most);
    if (fd < 0 || fd >= FILES || states[fd] == PLAIN || found < 0) return found;
    if (!atomic_compare_exchange_strong(&states[fd], &expected, REALTIME)) return found;
    known[fd] = *shift;
    errno = ECANCELED;
    return -1;
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) states[fd] = PLAIN;
    return syscall(SYS_close, fd);
}

static void tell_timers(void) {
    const struct itimerspec at_once = {.it_value = {0, 1}};
    pthread_mutex_lock(&lock);
    for (int fd = 0; fd < FILES; fd++) {
        int expected = CANCELLABLE;
        if (states[fd] == ARMED) arm_moved(fd, &wanted[fd], NULL);
        if (atomic_compare_exchange_strong(&states[fd], &expected, CANCELLED))
            arm(fd, 0, &at_once, NULL);
    }
    pthread_mutex_unlock(&lock);
}

static void *watch(void *unused) {
    const struct timespec pause = {0, LOOK_NANOSECONDS};
    int64_t seen = *shift;
    (void)unused;
    for (;;) {
        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL);
        if (*shift == seen) continue;
        seen = *shift;
        tell_timers();
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCKSHIM_FILE");
    pthread_t thread;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page;
    if (fd < 0) return;
    page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (page == MAP_FAILED) return;
    shift = page;
    if (!pthread_create(&thread, NULL, watch, NULL)) pthread_detach(thread);
}
