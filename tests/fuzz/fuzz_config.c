/* The configuration file. What was accepted is a configuration whose every value can be shown and
 * set again. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_values(struct config *config)
{
    static char text[1 << 16];
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        struct error error = {""};
        int rc = option_get(config, row, text, sizeof(text));
        if (rc == 0 && row->type != OPTION_LIST && option_set(config, row, text, &error) != 0) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config_errors errors;
    struct config config;
    must(config_init(&config) == 0);
    errors.count = 0;
    config_read_yaml(&config, "fuzz.yaml", (const char *)data, size, &errors);
    for (size_t i = 0; i < errors.count && i < CONFIG_ERROR_LIMIT; i++) {
        must(strncmp(errors.errors[i].text, "fuzz.yaml:", 10) == 0);
    }
    for (size_t i = 0; errors.count == 0 && i < config.daemon_count; i++) {
        must(config.daemons[i].name != NULL && config.daemons[i].url != NULL);
    }
    check_values(&config);
    config_finish(&config);
    return 0;
}
