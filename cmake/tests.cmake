# Tests by where they lie; no file is listed by hand. See CONTRIBUTING.md for the folders and labels.

set(test_env
  "SOURCE_DIR=${CMAKE_SOURCE_DIR}"
  "BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
  "UBSAN_OPTIONS=print_stacktrace=1"
  "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")

# names(ret PATTERN): the base names, without extension, of the files that match.
function(names ret_names pattern)
  file(GLOB files CONFIGURE_DEPENDS ${pattern})
  list(TRANSFORM files REPLACE "^.*/([^/]+)\\.[a-z]+$" "\\1")
  set(${ret_names} ${files} PARENT_SCOPE)
endfunction()

file(GLOB support_sources CONFIGURE_DEPENDS tests/support/support_*.c)
file(GLOB helper_sources CONFIGURE_DEPENDS tests/support/*/*.c)
list(FILTER helper_sources EXCLUDE REGEX "/tests/support/tools/")

# ---- what every test program stands on
# tests/support/<folder>/*.c: helpers that need neither cmocka nor a room; tools and tests may use them.
add_library(test_base INTERFACE)
target_include_directories(test_base INTERFACE tests tests/support)
target_link_libraries(test_base INTERFACE all_rooms PkgConfig::CJSON)
add_library(test_helpers INTERFACE)
add_library(test_helpers_plain INTERFACE)
if(helper_sources)
  add_library(test_helpers_code STATIC EXCLUDE_FROM_ALL ${helper_sources})
  target_include_directories(test_helpers_code PUBLIC tests tests/support)
  target_link_libraries(test_helpers_code PUBLIC code PkgConfig::CJSON)
  target_link_libraries(test_helpers INTERFACE test_helpers_code)
  add_library(test_helpers_plain_code STATIC EXCLUDE_FROM_ALL ${helper_sources})
  set_target_properties(test_helpers_plain_code PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
  target_include_directories(test_helpers_plain_code PUBLIC tests tests/support)
  target_include_directories(test_helpers_plain_code SYSTEM PRIVATE ${CJSON_INCLUDE_DIRS})
  target_link_libraries(test_helpers_plain_code PUBLIC code_plain)
  target_link_libraries(test_helpers_plain INTERFACE test_helpers_plain_code)
endif()
target_link_libraries(test_base INTERFACE test_helpers)

# tests/support/support_*.c: support of the unit tests; it may use cmocka and the rooms.
add_library(test_support INTERFACE)
if(CMOCKA_FOUND)
  target_link_libraries(test_base INTERFACE PkgConfig::CMOCKA)
  if(support_sources)
    add_library(test_support_code STATIC EXCLUDE_FROM_ALL ${support_sources})
    target_link_libraries(test_support_code PUBLIC test_base)
    target_link_libraries(test_support INTERFACE test_support_code)
  endif()
endif()
target_link_libraries(test_support INTERFACE test_base)

# ---- fuzz targets
names(fuzz_names tests/fuzz/fuzz_*.c)
if(fuzz_names AND NOT FUZZ_ONLY)
  add_library(fuzz_main OBJECT tests/support/fuzz_main.c)
  target_link_libraries(fuzz_main PRIVATE code)
endif()
foreach(name IN LISTS fuzz_names)
  add_executable(${name} tests/fuzz/${name}.c)
  # fuzz_<program>: with the program's own files, but its main.
  string(REGEX REPLACE "^fuzz_" "" program ${name})
  file(GLOB program_files CONFIGURE_DEPENDS cmd/${program}/*.c)
  list(FILTER program_files EXCLUDE REGEX "/main\\.c$")
  if(program_files)
    target_sources(${name} PRIVATE ${program_files})
    target_include_directories(${name} PRIVATE cmd/${program})
    target_link_libraries(${name} PRIVATE m)
  endif()
  target_include_directories(${name} PRIVATE tests tests/support)
  set_source_files_properties(tests/fuzz/${name}.c PROPERTIES # libFuzzer's entry has no header
    COMPILE_OPTIONS -Wno-missing-prototypes)
  target_link_libraries(${name} PRIVATE test_helpers all_rooms)
  if(FUZZ_ONLY)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    continue()
  endif()
  target_link_libraries(${name} PRIVATE fuzz_main)
  string(REGEX REPLACE "^fuzz_" "" short_name ${name})
  foreach(corpus tests/fuzz/corpus/${name} tests/fuzz/corpus/${short_name})
    file(GLOB corpus_files CONFIGURE_DEPENDS ${corpus}/*)
    if(corpus_files)
      add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/${corpus})
      set_tests_properties(${name} PROPERTIES LABELS fuzz-corpus TIMEOUT 300 ENVIRONMENT "${test_env}")
      break()
    endif()
  endforeach()
endforeach()
if(FUZZ_ONLY)
  return()
endif()

# ---- unit tests, and the same ones with failing allocations
set(TORTURE_TESTS "")
file(GLOB torture_list CONFIGURE_DEPENDS tests/unit/TORTURE)
if(torture_list)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS tests/unit/TORTURE)
  file(STRINGS tests/unit/TORTURE TORTURE_TESTS)
  list(TRANSFORM TORTURE_TESTS REPLACE "#.*$" "")
  list(TRANSFORM TORTURE_TESTS STRIP)
  list(FILTER TORTURE_TESTS EXCLUDE REGEX "^$")
endif()

function(add_unit_test name)
  add_executable(${name} tests/unit/${name}.c)
  target_link_libraries(${name} PRIVATE test_support)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300 ENVIRONMENT "${test_env}")
endfunction()

# The allocations of the rooms fail; those of the test itself and of its support code do not: their files are
# compiled with the allocation functions renamed to ones that torture.c passes on.
function(add_torture_test name)
  set(program torture_${name})
  add_executable(${program} tests/unit/${name}.c ${support_sources})
  foreach(function malloc calloc realloc aligned_alloc strdup strndup)
    target_compile_definitions(${program} PRIVATE ${function}=torture_exempt_${function})
    target_link_options(${program} PRIVATE -Wl,--wrap=${function})
  endforeach()
  target_link_libraries(${program} PRIVATE torture_code test_base)
  set_target_properties(${program} PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
  add_test(NAME ${program}
    COMMAND ${CMAKE_SOURCE_DIR}/tests/support/torture.sh $<TARGET_FILE:${program}>
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
  set_tests_properties(${program} PROPERTIES LABELS torture TIMEOUT 900 PROCESSORS ${cores}
    ENVIRONMENT "${test_env}")
endfunction()

if(CMOCKA_FOUND)
  names(unit_names tests/unit/test_*.c)
  foreach(name IN LISTS unit_names)
    add_unit_test(${name})
  endforeach()
  if(TORTURE_TESTS AND NOT SANITIZE STREQUAL "thread")
    add_library(torture_code OBJECT tests/support/torture.c)
    target_link_libraries(torture_code PUBLIC code ${CMAKE_DL_LIBS})
    foreach(name IN LISTS TORTURE_TESTS)
      if(NOT name IN_LIST unit_names)
        message(FATAL_ERROR "tests/unit/TORTURE names ${name}, but there is no tests/unit/${name}.c")
      endif()
      add_torture_test(${name})
    endforeach()
  endif()
else()
  message(STATUS "cmocka not found: no unit tests (make deps installs it)")
endif()

# ---- tools and benchmarks
names(tool_names tests/support/tools/*.c)
foreach(name IN LISTS tool_names)
  add_executable(${name} tests/support/tools/${name}.c)
  target_include_directories(${name} PRIVATE tests tests/support)
  if(name STREQUAL "loggen") # runs inside empty images
    set_property(TARGET ${name} PROPERTY POSITION_INDEPENDENT_CODE) # unset: neither -pie nor -no-pie
    target_link_libraries(${name} PRIVATE test_helpers_plain code_plain)
    target_link_options(${name} PRIVATE -static)
  else()
    target_link_libraries(${name} PRIVATE test_helpers code PkgConfig::CJSON m)
  endif()
endforeach()

names(bench_names tests/bench/bench_*.c)
foreach(name IN LISTS bench_names)
  add_executable(${name} tests/bench/${name}.c)
  target_include_directories(${name} PRIVATE tests tests/support)
  target_link_libraries(${name} PRIVATE test_helpers all_rooms m)
endforeach()

# ---- faults for the smoke test: tests/load/faults/<function>.c stands in front of that function in a copy of the
# agent, log_capturer_with_<function>. No other program has them.
names(fault_names tests/load/faults/*.c)
set(agent_sources ${program_sources})
list(FILTER agent_sources INCLUDE REGEX "^cmd/log_capturer/")
foreach(name IN LISTS fault_names)
  add_executable(log_capturer_with_${name} tests/load/faults/${name}.c ${agent_sources})
  target_include_directories(log_capturer_with_${name} PRIVATE cmd/log_capturer)
  target_link_libraries(log_capturer_with_${name} PRIVATE all_rooms)
  target_link_options(log_capturer_with_${name} PRIVATE -Wl,--wrap=${name})
endforeach()

# ---- integration: scripts against a real dockerd; exit code 77 means skipped.
# test_x.sh is the ctest test integration_x, newest_x.sh is newest_x.
function(add_script_tests label pattern prefix)
  names(scripts ${pattern})
  foreach(script IN LISTS scripts)
    string(REGEX REPLACE "^[a-z]+_(.*)$" "${prefix}_\\1" name ${script})
    add_test(NAME ${name} COMMAND bash ${CMAKE_SOURCE_DIR}/tests/integration/${script}.sh
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 900 RUN_SERIAL ON
      SKIP_RETURN_CODE 77 ENVIRONMENT "${test_env}")
  endforeach()
endfunction()

add_script_tests(integration "tests/integration/test_*.sh" integration)
add_script_tests(newest "tests/integration/newest_*.sh" newest)
