/* Images and networks, as far as pools of containers need them. Loop thread only. */
#pragma once

#include "base/record.h"
#include "docker/docker_client.h"

/* Whether the daemon has it: DOCKER_OK or DOCKER_NOT_FOUND. */
int docker_image_look(struct docker_client *client, const char *image, docker_done_fn on_done,
                      void *data) __attribute__((warn_unused_result));
/* Has the daemon pull it; up to 10 minutes. DOCKER_NOT_FOUND, DOCKER_UNAVAILABLE with the registry's
 * words. */
int docker_image_pull(struct docker_client *client, const char *image, docker_done_fn on_done,
                      void *data) __attribute__((warn_unused_result));

/* A bridge of this name with one label. DOCKER_CONFLICT: there is one of this name. */
int docker_network_create(struct docker_client *client, const char *name,
                          const struct record_label *label, docker_done_fn on_done, void *data)
    __attribute__((warn_unused_result));
int docker_network_remove(struct docker_client *client, const char *name, docker_done_fn on_done,
                          void *data) __attribute__((warn_unused_result));
/* Names of those with the label; views that end with the call. */
typedef void (*docker_names_fn)(const struct docker_outcome *outcome, const char *const *names,
                                size_t count, void *data);
int docker_network_list(struct docker_client *client, const char *label, docker_names_fn on_names,
                        void *data) __attribute__((warn_unused_result));
