/*
 * An id is a mix of prefix, index and name, so that a fake daemon that is started again has
 * the same containers, and two fake daemons with different prefixes do not share ids.
 *
 * The live rate is counted on the monotonic clock from the container's start; its lines are one
 * span as long as nothing else is written in between. The starts are spread over one period, or
 * thousands of containers would write in the same instant.
 */
#include "fake_dockerd/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND_NS + (int64_t)now.tv_nsec;
}

int64_t fake_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t fake_monotonic_ns(void)
{
    return (uint64_t)clock_ns(CLOCK_MONOTONIC);
}

static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    return value ^ value >> 31;
}

static void make_id(struct fake_container *container)
{
    uint64_t value = container->index;
    for (const char *p = container->line_name; *p != '\0'; p++) {
        value = mix(value ^ (unsigned char)*p);
    }
    for (size_t at = 0; at < FAKE_ID_LEN; at += 16) {
        value = mix(value);
        snprintf(container->id + at, 17, "%016llx", (unsigned long long)value);
    }
}

static void add_past(struct fake_container *container, const struct fake_container_options *options)
{
    int64_t length_ns = (int64_t)options->lines * options->step_ns;
    struct fake_span_options past = {
        .base_ns = options->base_ns != 0 ? options->base_ns : fake_now_ns() - length_ns,
        .step_ns = options->step_ns,
        .group = options->group,
        .stderr_every = options->stderr_every,
        .size = options->size,
    };
    fake_history_add(&container->history, &past, options->lines);
    container->created_ns = past.base_ns - SECOND_NS;
}

struct fake_container *fake_world_create(struct fake_world *world, const char *name,
                                         const struct fake_container_options *options)
{
    struct fake_container *container = fake_allocate(1, sizeof *container);
    container->index = world->next_index++;
    if (name != NULL) {
        snprintf(container->name, sizeof container->name, "%s", name);
    } else {
        snprintf(container->name, sizeof container->name, "%s%llu", world->name_prefix,
                 (unsigned long long)container->index);
    }
    memcpy(container->line_name, container->name, sizeof container->line_name);
    make_id(container);
    container->image = fake_copy(options->image);
    container->log_driver = fake_copy(options->log_driver);
    container->labels = fake_allocate(options->labels.len + 1, 1);
    if (options->labels.len > 0) {
        memcpy(container->labels, options->labels.data, options->labels.len);
    }
    container->tty = options->tty;
    container->rate = options->rate;
    container->size = options->size;
    container->stderr_every = options->tty ? 0 : options->stderr_every;
    container->group = options->group;
    container->stall_headers = options->stall_headers;
    LIST_INIT(&container->follows);
    fake_history_init(&container->history, container->line_name, options->tty);
    add_past(container, options);
    world->containers = fake_resize(world->containers, world->count + 1,
                                    sizeof(struct fake_container *));
    world->containers[world->count++] = container;
    return container;
}

static void container_free(struct fake_container *container)
{
    fake_history_finish(&container->history);
    free(container->image);
    free(container->log_driver);
    free(container->labels);
    free(container->logs_body);
    free(container);
}

void fake_world_remove(struct fake_world *world, struct fake_container *container)
{
    size_t at = 0;
    while (world->containers[at] != container) {
        at++;
    }
    memmove(&world->containers[at], &world->containers[at + 1],
            (world->count - at - 1) * sizeof(struct fake_container *));
    world->count--;
    world->removed = fake_resize(world->removed, world->removed_count + 1,
                                 sizeof(struct fake_container *));
    world->removed[world->removed_count++] = container;
}

void fake_world_reap(struct fake_world *world)
{
    size_t kept = 0;
    for (size_t i = 0; i < world->removed_count; i++) {
        struct fake_container *container = world->removed[i];
        if (LIST_EMPTY(&container->follows)) {
            container_free(container);
        } else {
            world->removed[kept++] = container;
        }
    }
    world->removed_count = kept;
}

void fake_world_finish(struct fake_world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        container_free(world->containers[i]);
    }
    free(world->containers);
    fake_world_reap(world);
    free(world->removed);
    fake_text_finish(&world->defaults.labels);
}

struct fake_container *fake_world_find(const struct fake_world *world, const char *reference)
{
    size_t len = strlen(reference);
    for (size_t i = 0; i < world->count; i++) {
        struct fake_container *container = world->containers[i];
        if (strcmp(container->name, reference) == 0 ||
            (len >= 12 && strncmp(container->id, reference, len) == 0)) {
            return container;
        }
    }
    return NULL;
}

bool fake_container_runs(const struct fake_container *container)
{
    return container->state == FAKE_RUNNING || container->state == FAKE_PAUSED;
}

const char *fake_container_state_name(const struct fake_container *container)
{
    static const char *const names[] = {"created", "running", "paused", "exited"};
    return names[container->state];
}

void fake_container_set_rate(struct fake_container *container, uint64_t rate)
{
    container->rate = rate;
    container->rate_done = 0;
    container->rate_open = false;
    container->rate_start_ns = fake_monotonic_ns();
    if (rate > 0) {
        container->rate_start_ns += container->index % 1009 * (SECOND_NS / rate) / 1009;
    }
}

void fake_container_start(struct fake_container *container)
{
    container->state = FAKE_RUNNING;
    container->exit_code = 0;
    container->started_ns = fake_now_ns() + container->clock_offset_ns;
    fake_container_set_rate(container, container->rate);
}

void fake_container_die(struct fake_container *container, int exit_code)
{
    container->state = FAKE_EXITED;
    container->exit_code = exit_code;
    container->finished_ns = fake_now_ns() + container->clock_offset_ns;
}

void fake_container_emit(struct fake_container *container, struct fake_span_options options,
                         uint64_t lines)
{
    options.base_ns = fake_now_ns() + container->clock_offset_ns;
    options.step_ns = options.step_ns > 0 ? options.step_ns : 1000;
    container->rate_open = false;
    fake_history_add(&container->history, &options, lines);
}

bool fake_container_tick(struct fake_container *container, uint64_t monotonic_ns)
{
    if (container->rate == 0 || container->state != FAKE_RUNNING ||
        monotonic_ns < container->rate_start_ns) {
        return false;
    }
    uint64_t elapsed_ns = monotonic_ns - container->rate_start_ns;
    uint64_t due = elapsed_ns / SECOND_NS * container->rate +
                   elapsed_ns % SECOND_NS * container->rate / SECOND_NS;
    if (due <= container->rate_done) {
        return false;
    }
    uint64_t lines = due - container->rate_done;
    container->rate_done = due;
    if (container->rate_open) {
        fake_history_extend(&container->history, lines);
        return true;
    }
    struct fake_span_options live = {
        .step_ns = SECOND_NS / (int64_t)container->rate,
        .group = container->group,
        .stderr_every = container->stderr_every,
        .size = container->size,
    };
    fake_container_emit(container, live, lines);
    container->rate_open = true;
    return true;
}

void fake_container_step_clock(struct fake_container *container, int64_t step_ns)
{
    container->clock_offset_ns += step_ns;
    container->rate_open = false;
    fake_history_clock_stepped(&container->history);
}
