/* The agent's program; everything is in internal/agent. */
#include <unistd.h>

#include "agent/commands.h"

int main(int argc, char **argv)
{
    return commands_main(argc, argv, (const char *const *)environ);
}
