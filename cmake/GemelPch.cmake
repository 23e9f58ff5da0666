# SPDX-License-Identifier: Apache-2.0
#
# Precompiled headers, where GEMEL_PCH is on: the standard library and GoogleTest, which take a
# third of the time that clang needs. Files include what they use all the same: the dev preset,
# without them, is what proves it.
#
# One precompiled header serves every target whose flags are equal; the first that asks owns it.
#
# A precompiled header names the clone that it was made in. For the clones to share objects
# nevertheless, ccache is told what is in it by a checksum of the preprocessed headers beside it
# (pch_external_checksum of ccache), written whenever CMake configures.

set(GEMEL_PCH_STANDARD
    <algorithm> <array> <atomic> <chrono> <cstdint> <cstring> <deque> <functional> <map> <memory>
    <optional> <set> <span> <string> <string_view> <unordered_map> <utility> <vector>)

if(GEMEL_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Lets ccache see which precompiled header was used.
    add_compile_options(-fpch-preprocess)
    set(GEMEL_PCH_SUFFIX .gch)
elseif(GEMEL_PCH)
    # Or every new one would differ from the one before, and with it all that uses it.
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
    # Without CMake's `-Xclang -include`, whose path ccache takes as it is.
    set(CMAKE_CXX_COMPILE_OPTIONS_USE_PCH -include-pch <PCH_FILE>)
    set(GEMEL_PCH_SUFFIX .pch)
endif()

# gemel_sum_precompiled(name flags headers...): the checksum of what `name` precompiles.
function(gemel_sum_precompiled name flags)
    set(directory "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${name}.dir")
    list(TRANSFORM ARGN PREPEND "#include " OUTPUT_VARIABLE includes)
    list(JOIN includes "\n" text)
    file(WRITE "${directory}/checked.hxx" "${text}\n")
    string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
    string(APPEND flags " -std=c++20 ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}}")
    separate_arguments(arguments UNIX_COMMAND "${flags}")
    execute_process(
        COMMAND "${CMAKE_CXX_COMPILER}" ${arguments} -E -P -x c++ "${directory}/checked.hxx"
        OUTPUT_VARIABLE preprocessed COMMAND_ERROR_IS_FATAL ANY)
    string(SHA256 sum "${CMAKE_CXX_COMPILER_VERSION} ${flags} ${preprocessed}")
    file(WRITE "${directory}/cmake_pch.hxx${GEMEL_PCH_SUFFIX}.sum" "${sum}\n")
endfunction()

# gemel_precompile(name exceptions [headers...]): the standard headers and these for the target.
function(gemel_precompile name exceptions)
    if(NOT GEMEL_PCH)
        return()
    endif()
    # Executables are compiled with -fPIE, libraries with -fPIC.
    get_target_property(type ${name} TYPE)
    set(kind "GEMEL_PCH ${type} ${ARGN}")
    set(flags "")
    if(exceptions)
        string(APPEND kind " EXCEPTIONS")
    else()
        set(flags "-fno-exceptions -fno-rtti")
    endif()
    get_property(owner GLOBAL PROPERTY "${kind}")
    if(owner)
        target_precompile_headers(${name} REUSE_FROM ${owner})
    else()
        set_property(GLOBAL PROPERTY "${kind}" ${name})
        target_precompile_headers(${name} PRIVATE ${GEMEL_PCH_STANDARD} ${ARGN})
        gemel_sum_precompiled(${name} "${flags}" ${GEMEL_PCH_STANDARD} ${ARGN})
    endif()
endfunction()
