/* The event reader; what it tells must not depend on the chunks. Byte 0 seeds their sizes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "docker/docker_events.h"

struct told {
    uint32_t hash;
    size_t events;
    size_t bad;
};

static void take_event(const struct docker_event *event, void *data)
{
    struct told *told = data;
    if (strlen(event->id) != DOCKER_ID_SIZE - 1 || event->action == DOCKER_ACTION_OTHER) {
        abort();
    }
    told->hash = crc32c(told->hash, &event->action, sizeof(event->action));
    told->hash = crc32c(told->hash, event->id, strlen(event->id));
    told->hash = crc32c(told->hash, event->name, strlen(event->name));
    told->hash = crc32c(told->hash, &event->time_s, sizeof(event->time_s));
    told->events++;
}

static void take_bad(const char *text, void *data)
{
    struct told *told = data;
    told->hash = crc32c(told->hash, text, strlen(text));
    told->bad++;
}

static struct told play(uint32_t step, const uint8_t *data, size_t size)
{
    struct told told = {0};
    struct docker_event_reader reader;
    uint32_t random = step;
    docker_event_reader_init(&reader);
    reader.on_event = take_event;
    reader.on_bad_event = take_bad;
    reader.data = &told;
    for (size_t at = 0; at < size;) {
        random = random * 1664525 + 1013904223;
        size_t take = step == 0 ? size : step == 1 ? 1 : 1 + (random >> 24);
        take = take < size - at ? take : size - at;
        char *chunk = malloc(take);
        if (chunk == NULL) {
            abort();
        }
        memcpy(chunk, data + at, take);
        docker_event_reader_feed(&reader, chunk, take);
        free(chunk);
        at += take;
    }
    docker_event_reader_finish(&reader);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct told whole = play(0, data + 1, size - 1);
    struct told bytewise = play(1, data + 1, size - 1);
    struct told random = play(2U + data[0], data + 1, size - 1);
    if (memcmp(&whole, &bytewise, sizeof(whole)) != 0 ||
        memcmp(&whole, &random, sizeof(whole)) != 0) {
        abort();
    }
    return 0;
}
