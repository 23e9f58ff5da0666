/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A counter that two machines keep: whoever serves counts on and says so, the other one waits. What
 * was said is never said again, whichever machine dies.
 *
 *   counter CONFIG NODE STATE-DIRECTORY RUN-DIRECTORY
 *
 * One thread with an event loop of its own: poll(2) on the library's descriptor.
 */
#include <gemel.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 4096, PAUSE_MS = 5 };

enum step { WAITING, READING, WRITING, RESTING };

struct counter {
    gemel_volume* volume;
    enum step step;
    uint64_t value;
    unsigned char block[BLOCK];
};

static volatile sig_atomic_t ends;

static void end(int signal) {
    (void)signal;
    ends = 1;
}

static void on_written(void* user, int error);

/* From what the volume holds: another machine may have counted meanwhile. */
static void on_read(void* user, int error) {
    struct counter* counter = user;
    if (error != GEMEL_OK) {
        counter->step = WAITING;
        return;
    }
    memcpy(&counter->value, counter->block, sizeof counter->value);
    counter->step = RESTING;
}

static void on_written(void* user, int error) {
    struct counter* counter = user;
    if (error == GEMEL_OK) {
        printf("%llu\n", (unsigned long long)counter->value);
        counter->step = RESTING;
    } else {
        printf("not counted: %s\n", gemel_error_text(error));
        counter->step = WAITING;
    }
    fflush(stdout);
}

static void count(struct counter* counter) {
    counter->step = WRITING;
    ++counter->value;
    memcpy(counter->block, &counter->value, sizeof counter->value);
    gemel_write(counter->volume, 0, counter->block, BLOCK, GEMEL_DURABLE, on_written, counter);
}

static void on_event(void* user, const gemel_event* event) {
    (void)user;
    if (event->kind != GEMEL_EVENT_STATE) return;
    printf("state %s\n", gemel_state_name(event->state));
    fflush(stdout);
}

int main(int argc, char** argv) {
    static struct counter counter;
    char why[1024];
    if (argc != 5) {
        fprintf(stderr, "usage: counter CONFIG NODE STATE-DIRECTORY RUN-DIRECTORY\n");
        return 2;
    }
    gemel_options options = GEMEL_OPTIONS_INIT;
    options.threads = GEMEL_THREADS_CALLER;
    options.config_file = argv[1];
    options.node = argv[2];
    options.state_directory = argv[3];
    options.run_directory = argv[4];
    options.on_event = on_event;
    gemel_node* node = gemel_open(&options, why, sizeof why);
    if (node == NULL) {
        fprintf(stderr, "counter: %s\n", why);
        return 1;
    }
    signal(SIGTERM, end);
    gemel_mirror* mirror = gemel_mirror_at(node, 0);
    counter.volume = gemel_volume_at(mirror, 0);
    while (!ends) {
        struct pollfd ready = {gemel_descriptor(node), POLLIN, 0};
        const int due = poll(&ready, 1, PAUSE_MS) == 0; /* nothing came: time to count */
        gemel_dispatch(node);
        if (counter.step == WAITING && gemel_serves(mirror)) {
            counter.step = READING;
            gemel_read(counter.volume, 0, counter.block, BLOCK, on_read, &counter);
        } else if (counter.step == RESTING && due) {
            count(&counter);
        }
    }
    gemel_close(node); /* hands over */
    return 0;
}
