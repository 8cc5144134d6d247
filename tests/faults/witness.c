/* A command that is seen: one line at its start, one at its end, each one atomic append.
 *
 *     witness FILE MILLISECONDS
 *
 * Written in C because thousands of them run in a test, and each Python costs ten times as much.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *known(const char *name) {
    const char *value = getenv(name);
    return value != NULL ? value : "-";
}

static int say(const char *file, const char *word) {
    char line[512];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%s %s %s %s %d %lld\n",
                          known("MAHAVISHNU_RUN_ID"), known("MAHAVISHNU_ATTEMPT"),
                          known("MAHAVISHNU_SCHEDULED_FOR"), word, (int)getpid(),
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    int out = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return out >= 0 && write(out, line, (size_t)length) == length;
}

int main(int count, char **words) {
    if (count != 3) return 2;
    long milliseconds = atol(words[2]);
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    if (!say(words[1], "START")) return 1;
    if (milliseconds > 0) nanosleep(&pause, NULL);
    return say(words[1], "END") ? 0 : 1;
}
