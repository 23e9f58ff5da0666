# SPDX-License-Identifier: Apache-2.0
#
# Precompiled headers, where GEMEL_PCH is on: the standard library and GoogleTest, which take a
# third of the time that clang needs. Files include what they use all the same: the dev preset,
# without them, is what proves it.
#
# One precompiled header serves every target whose flags are equal; the first that asks owns it.

set(GEMEL_PCH_STANDARD
    <algorithm> <array> <atomic> <chrono> <cstdint> <cstring> <deque> <functional> <map> <memory>
    <optional> <set> <span> <string> <string_view> <unordered_map> <utility> <vector>)

if(GEMEL_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Lets ccache see which precompiled header was used.
    add_compile_options(-fpch-preprocess)
elseif(GEMEL_PCH)
    # Or every new one would differ from the one before, and with it all that uses it.
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
endif()

# gemel_precompile(name exceptions [headers...]): the standard headers and these for the target.
function(gemel_precompile name exceptions)
    if(NOT GEMEL_PCH)
        return()
    endif()
    # Executables are compiled with -fPIE, libraries with -fPIC.
    get_target_property(type ${name} TYPE)
    set(kind "GEMEL_PCH ${type} ${ARGN}")
    if(exceptions)
        string(APPEND kind " EXCEPTIONS")
    endif()
    get_property(owner GLOBAL PROPERTY "${kind}")
    if(owner)
        target_precompile_headers(${name} REUSE_FROM ${owner})
    else()
        set_property(GLOBAL PROPERTY "${kind}" ${name})
        target_precompile_headers(${name} PRIVATE ${GEMEL_PCH_STANDARD} ${ARGN})
    endif()
endfunction()
