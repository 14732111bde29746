/* What list and inspect answer, as one object or as an array of them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "docker/docker_containers.h"
#include "docker/docker_lifecycle.h"

#define LABELS 8

static void check(const struct json *object)
{
    struct record_label labels[LABELS];
    struct docker_container container;
    struct error error = {""};
    int rc = docker_container_parse(object, labels, LABELS, &container, &error);
    if (rc != 0) {
        if (error.text[0] == '\0') {
            abort();
        }
        return;
    }
    if (strlen(container.id) != DOCKER_ID_SIZE - 1 || container.name == NULL ||
        container.image == NULL || container.log_driver == NULL || container.label_count > LABELS ||
        container.state > DOCKER_STATE_EXITED) {
        abort();
    }
    for (size_t i = 0; i < container.label_count; i++) {
        if (container.labels[i].key == NULL || container.labels[i].value == NULL) {
            abort();
        }
    }
}

static void check_details(const struct json *object)
{
    struct docker_details details;
    struct error error = {""};
    int rc = docker_details_parse(object, &details, &error);
    if (rc != 0 && error.text[0] == '\0') {
        abort();
    }
    if (rc == 0 && (details.id == NULL || details.name == NULL || details.ip == NULL ||
                    details.error == NULL || details.port_count > DOCKER_PORTS_LIMIT)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root = NULL;
    if (json_parse((const char *)data, size, &root, NULL) != 0) {
        return 0;
    }
    check(root);
    check_details(root);
    for (const struct json *member = json_first(root); json_is_array(root) && member != NULL;
         member = json_next(member)) {
        check(member);
    }
    json_destroy(root);
    return 0;
}
