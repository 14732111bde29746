/* A TCP relay over pooled backend connections; --help says what it takes. */
#include <string.h>

#include "base/log.h"
#include "server.h"

int main(int argc, char **argv)
{
    struct server server = {.listen_fd = -1};
    struct error error = {""};
    int next;
    if (options_init(&server.options, options_flags.rows) != 0) {
        return 1;
    }
    enum option_flags_result parsed = option_flags_parse(&options_flags, argc, argv,
                                                         &server.options, &next);
    int status = parsed == OPTION_FLAGS_BAD ? 2 : 0;
    if (parsed == OPTION_FLAGS_RUN && options_check(&server.options, &error) != 0) {
        status = option_flags_complain(&options_flags, "%s", error.text);
        parsed = OPTION_FLAGS_BAD;
    }
    if (parsed == OPTION_FLAGS_RUN) {
        bool json = strcmp(server.options.log_format, "json") == 0;
        log_configure(server.options.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                      json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        int rc = server_start(&server, &error);
        if (rc != 0) {
            log_error("%s", error.text);
        }
        status = rc != 0 || server_run(&server) != 0 ? 1 : 0;
        server_finish(&server);
    }
    options_finish(&server.options, options_flags.rows);
    return status;
}
