/* A file of presets, from any text; what is taken can be expanded. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "containers/preset.h"

static void expand(const struct preset *preset, const struct text_list *list)
{
    const uint16_t ports[PRESET_PORTS_LIMIT] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct preset_values values = {"host", 1, ports};
    for (size_t i = 0; i < list->count; i++) {
        char *text = NULL;
        if (preset_expand(preset, list->items[i], &values, &text, NULL) != 0) {
            abort(); /* preset_parse() has looked */
        }
        free(text);
    }
    if (list->count > 0 && list->items[list->count] != NULL) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct preset *preset = NULL;
    struct error error = {""};
    int rc = preset_parse((const char *)data, size, "p", &preset, &error);
    if (rc != 0) {
        if (error.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    expand(preset, &preset->command);
    expand(preset, &preset->environment);
    if (preset->image == NULL || preset->port_count > PRESET_PORTS_LIMIT ||
        preset->startup_timeout_ns <= 0) {
        abort();
    }
    preset_destroy(preset);
    return 0;
}
