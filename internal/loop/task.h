/*
 * Work for later: tasks run at the bottom of the iteration, posts come from other threads.
 * Both are embedded in their owners. Loop thread only, but loop_post_send().
 */
#pragma once

#include <stdbool.h>

#include "base/list.h"
#include "loop/loop.h"

struct loop_task;
typedef void (*loop_task_fn)(struct loop_task *task, void *data);

/* Runs once at the bottom of the present iteration, after all events and timers. */
struct loop_task {
    struct list link;
    loop_task_fn run;
    void *data;
};

void loop_task_init(struct loop_task *task, loop_task_fn run, void *data);
/* Nothing happens when it is scheduled already. Never fails. */
void loop_task_schedule(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop_task *task);

struct loop_post;
typedef void (*loop_post_fn)(struct loop_post *post, void *data);

/* A wake-up: any number of sends before the loop comes round give one call. */
struct loop_post {
    struct list link;
    struct loop *loop;
    loop_post_fn handle;
    void *data;
    _Atomic bool pending;
};

void loop_post_add(struct loop *loop, struct loop_post *post, loop_post_fn handle, void *data);
/* The senders must have stopped. */
void loop_post_remove(struct loop_post *post);
/* Any thread. */
void loop_post_send(struct loop_post *post);
