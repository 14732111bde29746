/* Pools of containers for tests; --help says what there is. Each verb has a file of its own. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/help.h"
#include "options.h"

static void print_help(void)
{
    (void)puts("Usage: container_pool VERB [FLAGS]\n");
    help_put_wrapped("Containers for tests, made before they are needed: each is ready to be used "
                     "when it is taken, is reset or replaced when it is given back, and is gone "
                     "when the pool's process has ended, whichever way.",
                     0, 0);
    (void)putchar('\n');
    for (const struct verb *verb = verbs; verb->name != NULL; verb++) {
        if (verb->help != NULL) {
            help_put_row(verb->name, verb->help);
        }
    }
    (void)puts("\n`container_pool VERB --help` shows its flags.");
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    struct options options = {.preset = NULL};
    int next;
    if (options_init(&options, verb->flags.rows) != 0) {
        return 1;
    }
    enum option_flags_result parsed = option_flags_parse(&verb->flags, argc, argv, &options, &next);
    int status = parsed == OPTION_FLAGS_BAD ? 2 : 0;
    if (parsed == OPTION_FLAGS_RUN) {
        status = verb->run(verb, &options, argv + next);
    }
    options_finish(&options, verb->flags.rows);
    return status;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    (void)signal(SIGPIPE, SIG_IGN);
    for (const struct verb *verb = verbs; verb->name != NULL; verb++) {
        if (strcmp(word, verb->name) == 0) {
            return run_verb(verb, argc - 1, argv + 1);
        }
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        (void)puts("container_pool " LOG_CAPTURER_VERSION);
        return 0;
    }
    (void)fprintf(stderr, "container_pool: %s%s; `container_pool --help` shows what there is\n",
                  word[0] != '\0' ? "there is no verb " : "a verb is missing", word);
    return 2;
}
