/* A sink that leaves keeps its place until its thread has ended; what is to replace it waits there. */
#include "sinks/sinks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/list.h"
#include "base/log.h"
#include "base/timestamp.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "sinks/sink_scratch.h"
#include "sinks/sink_type.h"

#define LEAVE_LIMIT_NS (5 * NS_PER_SECOND)

struct place {
    struct list link;
    struct sinks *sinks;
    char name[SINK_NAME_LIMIT + 1];
    struct sink *sink; /* NULL: it could not be begun */
    bool leaving;
    struct sink_settings *next; /* to begin with once it has left */
    struct loop_timer limit;
};

struct sinks {
    struct sinks_options options;
    struct list places;
    struct loop_post ended;
    struct pool *scratch;
};

static void handle_thread_end(void *data)
{
    loop_post_send(data);
}

static int begin(struct place *place, struct sink_settings *settings, struct error *error)
{
    struct sinks *sinks = place->sinks;
    return sink_create(&(struct sink_options){.spool = sinks->options.spool,
                                              .metrics = sinks->options.metrics,
                                              .loop = sinks->options.loop,
                                              .scratch = sinks->scratch,
                                              .state_dir = sinks->options.state_dir,
                                              .settings = settings,
                                              .on_ended = handle_thread_end,
                                              .data = &sinks->ended},
                       &place->sink, error);
}

static void begin_or_tell(struct place *place, struct sink_settings *settings)
{
    struct error error;
    if (begin(place, settings, &error) != 0) {
        log_error("%s; it is not running", error.text);
    }
}

static void free_place(struct place *place, int64_t timeout_ns)
{
    loop_timer_disarm(&place->limit);
    sink_destroy(place->sink, timeout_ns);
    sink_settings_destroy(place->next);
    list_remove(&place->link);
    free(place);
}

static void handle_limit(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct place *place = data;
    log_warn("sinks.%s: what it was sending is not answered; lines of it may come twice",
             place->name);
    sink_abort(place->sink);
}

static void handle_ended(struct loop_post *post, void *data)
{
    (void)post;
    struct sinks *sinks = data;
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &sinks->places)
    {
        struct place *place = container_of(link, struct place, link);
        if (!place->leaving || !sink_has_ended(place->sink)) {
            continue;
        }
        struct sink_settings *settings = place->next;
        place->next = NULL;
        if (settings == NULL) {
            log_info("sinks.%s: ended", place->name);
            free_place(place, 0);
            continue;
        }
        loop_timer_disarm(&place->limit);
        sink_destroy(place->sink, 0);
        place->sink = NULL;
        place->leaving = false;
        begin_or_tell(place, settings);
    }
}

static void leave(struct place *place, struct sink_settings *next)
{
    sink_settings_destroy(place->next);
    place->next = next;
    if (!place->leaving) {
        place->leaving = true;
        loop_timer_arm(&place->limit, LEAVE_LIMIT_NS);
        sink_stop(place->sink, false);
    }
}

int sinks_create(const struct sinks_options *options, struct sinks **ret_sinks)
{
    struct sinks *sinks = calloc(1, sizeof(*sinks));
    if (sinks == NULL) {
        return -ENOMEM;
    }
    sinks->options = *options;
    int rc = sink_scratch_create(options->metrics, &sinks->scratch);
    if (rc != 0) {
        free(sinks);
        return rc;
    }
    list_init(&sinks->places);
    loop_post_add(options->loop, &sinks->ended, handle_ended, sinks);
    *ret_sinks = sinks;
    return 0;
}

static struct place *find_place(const struct sinks *sinks, const char *name)
{
    for (struct list *link = sinks->places.next; link != &sinks->places; link = link->next) {
        struct place *place = container_of(link, struct place, link);
        if (strcmp(place->name, name) == 0) {
            return place;
        }
    }
    return NULL;
}

static bool is_named(const char *name, struct sink_settings *const *settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(settings[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int add_place(struct sinks *sinks, struct sink_settings *settings, struct error *error)
{
    struct place *place = calloc(1, sizeof(*place));
    if (place == NULL) {
        sink_settings_destroy(settings);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    place->sinks = sinks;
    memcpy(place->name, settings->name, sizeof(place->name));
    loop_timer_init(sinks->options.loop, &place->limit, handle_limit, place);
    list_append(&sinks->places, &place->link);
    if (error != NULL) {
        return begin(place, settings, error);
    }
    begin_or_tell(place, settings);
    return 0;
}

static int apply_one(struct sinks *sinks, struct sink_settings *settings, struct error *error)
{
    struct place *place = find_place(sinks, settings->name);
    if (place == NULL) {
        return add_place(sinks, settings, error);
    }
    if (place->sink == NULL) {
        begin_or_tell(place, settings);
    } else if (!place->leaving && sink_settings_equal(sink_settings_of(place->sink), settings)) {
        sink_settings_destroy(settings);
    } else {
        leave(place, settings);
    }
    return 0;
}

int sinks_apply(struct sinks *sinks, struct sink_settings **settings, size_t count,
                struct error *error)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &sinks->places)
    {
        struct place *place = container_of(link, struct place, link);
        if (is_named(place->name, settings, count)) {
            continue;
        }
        if (place->sink == NULL) {
            free_place(place, 0);
        } else {
            leave(place, NULL);
        }
    }
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        if (rc == 0) {
            rc = apply_one(sinks, settings[i], error);
        } else {
            sink_settings_destroy(settings[i]);
        }
    }
    return rc;
}

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

void sinks_destroy(struct sinks *sinks, int64_t timeout_ns)
{
    if (sinks == NULL) {
        return;
    }
    for (struct list *link = sinks->places.next; link != &sinks->places; link = link->next) {
        struct place *place = container_of(link, struct place, link);
        if (place->sink != NULL && !place->leaving) {
            sink_stop(place->sink, true);
        }
    }
    int64_t end_ns = monotonic_ns() + timeout_ns;
    while (!list_empty(&sinks->places)) {
        int64_t left = end_ns - monotonic_ns();
        free_place(container_of(sinks->places.next, struct place, link), left > 0 ? left : 0);
    }
    loop_post_remove(&sinks->ended);
    pool_destroy(sinks->scratch);
    free(sinks);
}

void sinks_put_status(struct sinks *sinks, struct json_writer *writer)
{
    for (struct list *link = sinks->places.next; link != &sinks->places; link = link->next) {
        struct place *place = container_of(link, struct place, link);
        struct sink_status status = {.state = "stopped"};
        if (place->sink != NULL) {
            sink_status(place->sink, &status);
        }
        json_open(writer, NULL, '{');
        json_put_string(writer, "name", place->name);
        json_put_string(writer, "type",
                        place->sink != NULL ? sink_settings_of(place->sink)->type->name : "");
        json_put_string(writer, "state", status.state);
        json_put_int(writer, "lag_lines", (int64_t)status.lag_lines);
        json_put_int(writer, "lag_bytes", (int64_t)status.lag_bytes);
        json_put_int(writer, "delivered_lines", (int64_t)status.delivered_lines);
        json_put_int(writer, "retries", (int64_t)status.retries);
        json_put_int(writer, "dead_letters", (int64_t)status.dead_letters);
        if (status.problem[0] != '\0') {
            json_put_string(writer, "problem", status.problem);
        }
        json_close(writer, '}');
    }
}

void sinks_put_problems(struct sinks *sinks, struct json_writer *writer)
{
    for (struct list *link = sinks->places.next; link != &sinks->places; link = link->next) {
        struct place *place = container_of(link, struct place, link);
        struct sink_status status = {.state = "stopped", .problem = "it could not be begun"};
        struct error text;
        if (place->sink != NULL) {
            sink_status(place->sink, &status);
        }
        if (status.problem[0] != '\0') {
            error_set(&text, "sinks.%s: %s: %s; its lines wait, none is dropped", place->name,
                      status.state, status.problem);
            json_put_string(writer, NULL, text.text);
        }
    }
}
