# SPDX-License-Identifier: Apache-2.0
#
# gemel_library, gemel_executable, gemel_test_library, gemel_test, gemel_script_test, gemel_fuzz:
# the only ways a target or a test is made here, so that flags, include root and labels are the
# same everywhere.
#
# LIBS: names beginning with gemel_ are linked PUBLIC (a header may include headers of lower
# floors), everything else PRIVATE (third-party libraries stay inside the folder that uses them).
# EXCEPTIONS: allows exceptions and RTTI, for folders whose third-party libraries throw.

# Flags of every target: include root, version, warnings, no exceptions and no RTTI unless asked.
function(gemel_flags name exceptions)
    target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
    target_compile_definitions(${name} PRIVATE GEMEL_VERSION="${PROJECT_VERSION}")
    target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:gemel_warnings>)
    if(NOT exceptions)
        target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti>)
    endif()
endfunction()

function(gemel_link name)
    foreach(lib IN LISTS ARGN)
        if(lib MATCHES "^gemel_")
            target_link_libraries(${name} PUBLIC ${lib})
        else()
            target_link_libraries(${name} PRIVATE ${lib})
        endif()
    endforeach()
endfunction()

# gemel_library(name [files...] [LIBS libs...] [EXCEPTIONS])
# A static library of the files, relative to the calling folder. With no .cpp among them it is an
# INTERFACE library that hands LIBS on, so that a folder can exist before its first source does.
function(gemel_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EXCEPTIONS" "" "LIBS")
    set(files ${arg_UNPARSED_ARGUMENTS})
    set(sources ${files})
    list(FILTER sources INCLUDE REGEX "\\.(cpp|c)$")
    if(sources)
        add_library(${name} STATIC ${files})
        gemel_flags(${name} "${arg_EXCEPTIONS}")
        gemel_precompile(${name} "${arg_EXCEPTIONS}")
        gemel_link(${name} ${arg_LIBS})
    else()
        add_library(${name} INTERFACE)
        target_include_directories(${name} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
        target_link_libraries(${name} INTERFACE ${arg_LIBS})
    endif()
    string(REGEX REPLACE "^gemel_" "" short ${name})
    set_target_properties(${name} PROPERTIES EXPORT_NAME ${short})
    add_library(gemel::${short} ALIAS ${name})
endfunction()

# gemel_executable(name SOURCES files... [LIBS libs...] [EXCEPTIONS])
# Makes nothing while SOURCES is empty.
function(gemel_executable name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EXCEPTIONS" "" "SOURCES;LIBS")
    if(NOT arg_SOURCES)
        return()
    endif()
    add_executable(${name} ${arg_SOURCES})
    gemel_flags(${name} "${arg_EXCEPTIONS}")
    gemel_precompile(${name} "${arg_EXCEPTIONS}")
    gemel_link(${name} ${arg_LIBS})
endfunction()

# gemel_test_library(name SOURCES files... LIBS libs...)
# What several tests share, compiled once; hands LIBS on. Its name begins with gemel_.
function(gemel_test_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
    add_library(${name} STATIC ${arg_SOURCES})
    gemel_flags(${name} OFF)
    gemel_precompile(${name} OFF <gtest/gtest.h>)
    gemel_link(${name} ${arg_LIBS} GTest::gtest)
endfunction()

# gemel_test(name SOURCES files... [LIBS libs...] LABELS fast|sim|slow|root|threads...
#            [TIMEOUT seconds] [ARGS args...] [EXCEPTIONS] [NO_MAIN])
# `threads`: runs under ThreadSanitizer too; the target threaded_tests builds all of these.
# One binary, one ctest entry of the same name, with GoogleTest's main() unless NO_MAIN.
# TIMEOUT only stops what hangs; no verdict depends on time.
function(gemel_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EXCEPTIONS;NO_MAIN" "TIMEOUT"
        "SOURCES;LIBS;LABELS;ARGS")
    if(NOT arg_SOURCES OR NOT arg_LABELS)
        message(FATAL_ERROR "gemel_test(${name}): SOURCES and LABELS are needed")
    endif()
    add_executable(${name} ${arg_SOURCES})
    gemel_flags(${name} "${arg_EXCEPTIONS}")
    gemel_precompile(${name} "${arg_EXCEPTIONS}" <gtest/gtest.h>)
    gemel_link(${name} ${arg_LIBS})
    target_link_libraries(${name} PRIVATE GTest::gtest Threads::Threads)
    if(NOT arg_NO_MAIN)
        target_link_libraries(${name} PRIVATE GTest::gtest_main)
    endif()
    if("threads" IN_LIST arg_LABELS)
        add_dependencies(threaded_tests ${name})
    endif()
    add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
    gemel_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}")
    # Only LeakSanitizer reads it.
    set_property(TEST ${name} PROPERTY ENVIRONMENT
        "LSAN_OPTIONS=print_suppressions=0:suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp")
endfunction()

# gemel_script_test(name SCRIPT file.py|file.sh LABELS ... [TIMEOUT seconds] [ARGS args...])
# A python or bash script as one ctest entry; it finds the binaries in $GEMEL_BIN.
function(gemel_script_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "SCRIPT;TIMEOUT" "LABELS;ARGS")
    if(NOT arg_SCRIPT OR NOT arg_LABELS)
        message(FATAL_ERROR "gemel_script_test(${name}): SCRIPT and LABELS are needed")
    endif()
    set(interpreter bash)
    if(arg_SCRIPT MATCHES "\\.py$")
        set(interpreter Python3::Interpreter -B)
    endif()
    add_test(NAME ${name}
        COMMAND ${interpreter} ${CMAKE_CURRENT_SOURCE_DIR}/${arg_SCRIPT} ${arg_ARGS})
    gemel_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}")
    set_property(TEST ${name} PROPERTY ENVIRONMENT "GEMEL_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
endfunction()

# gemel_fuzz(name SOURCES files... [LIBS libs...] [COVERS libs...])
# A target that defines LLVMFuzzerTestOneInput, as NAME_fuzz, its seed inputs in corpus/NAME. With
# GEMEL_FUZZ (the fuzz preset) libFuzzer drives it; otherwise it is a fast test that runs the corpus
# and a fixed set of mutations. With GEMEL_FUZZ_SECONDS (the asan preset) a target with COVERS is a
# test in which libFuzzer looks for so long for inputs that reach new code of these libraries.
function(gemel_fuzz name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS;COVERS")
    add_executable(${name}_fuzz ${arg_SOURCES})
    gemel_flags(${name}_fuzz OFF)
    gemel_link(${name}_fuzz ${arg_LIBS})
    add_dependencies(fuzz_targets ${name}_fuzz)
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    if(GEMEL_FUZZ)
        target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
        return()
    endif()
    if(GEMEL_FUZZ_SECONDS AND arg_COVERS)
        # What -fsanitize=fuzzer-no-link stands for, by which precompiled headers are refused.
        foreach(library IN LISTS arg_COVERS)
            target_compile_options(${library} PRIVATE
                -fsanitize-coverage=inline-8bit-counters,indirect-calls,trace-cmp,pc-table)
        endforeach()
        target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
        # The first folder takes what it finds.
        set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}_found)
        file(MAKE_DIRECTORY ${found})
        add_test(NAME ${name}_fuzz
            COMMAND ${name}_fuzz ${found} ${corpus} -artifact_prefix=${found}/
                -seed=1 -max_total_time=${GEMEL_FUZZ_SECONDS} -print_final_stats=1)
    else()
        target_sources(${name}_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/driver.cpp)
        gemel_link(${name}_fuzz gemel_base)
        add_test(NAME ${name}_fuzz COMMAND ${name}_fuzz ${corpus})
    endif()
    gemel_test_properties(${name}_fuzz fast "")
endfunction()

# Labels and time limit. Root tests take the machine (mounts, namespaces) one after the other.
function(gemel_test_properties name labels timeout)
    foreach(label IN LISTS labels)
        if(NOT label MATCHES "^(fast|sim|slow|root|threads)$")
            message(FATAL_ERROR "test ${name}: unknown label '${label}'")
        endif()
    endforeach()
    if(NOT timeout)
        set(timeout 900)  # a fast one, too: sanitized, interruption_test takes minutes
    endif()
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${timeout})
    if("root" IN_LIST labels)
        set_property(TEST ${name} PROPERTY RESOURCE_LOCK machine)
    endif()
endfunction()
