# SPDX-License-Identifier: Apache-2.0
#
# gemel_warnings: the warnings every target of ours is compiled with. Whether they are errors is
# decided by CMAKE_COMPILE_WARNING_AS_ERROR, which the presets set.

add_library(gemel_warnings INTERFACE)
target_compile_options(gemel_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Woverloaded-virtual -Wold-style-cast -Wcast-align -Wimplicit-fallthrough -Wundef)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 raises these from inlined libstdc++ code that is right (PRs 105329 and 105651, for
    # one: std::string's operator+); they stay visible but do not stop a build.
    target_compile_options(gemel_warnings INTERFACE
        -Wno-error=restrict -Wno-error=stringop-overflow -Wno-error=array-bounds
        -Wno-error=use-after-free)
endif()
