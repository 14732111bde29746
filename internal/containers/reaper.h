/*
 * The reaper: a process that waits until its parent is gone, whichever way, and then removes the parent's
 * containers and networks by their label. It is the program `container_pool reap`, whose standard input is a
 * pipe that only the parent writes to: its end is the parent's end.
 */
#pragma once

#include "base/error.h"
#include "loop/loop.h"
#include "net/http.h"

struct reaper;

/* program: path of container_pool; NULL: beside this program, else in PATH. -ENOENT with the remedy. */
int reaper_start(const char *program, const char *session, const char *docker_url,
                 struct reaper **ret_reaper, struct error *error)
    __attribute__((warn_unused_result));
/* Ends it; it looks once more whether something is left, unless nothing is known to be. NULL is ignored. */
void reaper_stop(struct reaper *reaper, bool nothing_left);

/* ---- what it does; loop thread ---- */

struct reaping;
struct reaping_options {
    struct loop *loop;
    struct http_client *http;
    const char *docker_url;
    const char *session; /* NULL: those of any session whose owner is gone */
    bool all;            /* with session NULL: those of every session */
    int64_t timeout_ns;  /* to reach the daemon and remove them */
    void (*on_removed)(const char *name, void *data); /* optional */
    /* Something has failed, and is tried again until timeout_ns are over; told once. Optional. */
    void (*on_trouble)(const char *text, void *data);
    /* Exactly once. left: those that could not be removed; text: why, or "". */
    void (*on_done)(size_t removed, size_t left, const char *text, void *data);
    void *data;
};
int reaping_start(const struct reaping_options *options, struct reaping **ret_reaping,
                  struct error *error) __attribute__((warn_unused_result));
/* on_done will not come. After on_done too. NULL is ignored. */
void reaping_destroy(struct reaping *reaping);
