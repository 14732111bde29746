/* Talks to a container's port. For the files of container_pool alone. Loop thread. */
#pragma once

#include "base/buf.h"
#include "containers/container_pool.h"
#include "loop/timer.h"
#include "net/dial.h"

/* One connection to a port: something is sent and its answer awaited, or it is seen to stay open. */
struct container_talk {
    struct dial dial;
    struct address_list addresses;
    struct conn conn;
    struct loop_fd source;
    struct loop_timer timer; /* its end; of silence: how long it is watched */
    const struct preset_talk *what;
    struct buf answer;
    size_t sent;
    void (*on_done)(struct container_talk *talk, int rc, const char *text);
};

void container_talk_init(struct container_talk *talk, struct loop *loop,
                         void (*on_done)(struct container_talk *talk, int rc, const char *text));
/* on_done comes exactly once, perhaps from within the call. */
void container_talk_start(struct container_talk *talk, const struct container *container,
                          const struct preset_talk *what);
/* on_done will not come. */
void container_talk_stop(struct container_talk *talk);
