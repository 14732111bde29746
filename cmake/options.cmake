# How our code is compiled. `code_plain` is for a program that must run anywhere (loggen, in an empty
# image); `code` adds the sanitizers of the preset.

add_library(code_plain INTERFACE)
target_compile_definitions(code_plain INTERFACE _GNU_SOURCE LOG_CAPTURER_VERSION="${PROJECT_VERSION}")
target_compile_options(code_plain INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Werror
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef -Wvla
  -Wpointer-arith -Wwrite-strings -Wcast-qual -Wimplicit-fallthrough)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(code_plain INTERFACE -Wlogical-op -Wduplicated-cond -Wduplicated-branches)
endif()
target_link_options(code_plain INTERFACE -Wl,--as-needed)

add_library(code INTERFACE)
target_link_libraries(code INTERFACE code_plain Threads::Threads)
if(SANITIZE)
  target_compile_options(code INTERFACE -fsanitize=${SANITIZE} -fno-sanitize-recover=all)
  target_link_options(code INTERFACE -fsanitize=${SANITIZE})
else()
  target_compile_options(code INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection)
  target_link_options(code INTERFACE -Wl,-z,relro -Wl,-z,now)
endif()
