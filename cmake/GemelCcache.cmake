# SPDX-License-Identifier: Apache-2.0
#
# ccache when it is installed and nobody chose another launcher. It learns what a compilation read
# from the list that ninja asks for anyway, so that a miss costs no second run of the preprocessor.
# Paths below the source directory are hashed relative to the build directory, so that every clone
# of the same source shares its objects. (Debug information then names the clone that compiled
# first.) With GEMEL_PCH too: GemelPch.cmake.

find_program(GEMEL_CCACHE ccache)
if(GEMEL_CCACHE)
    set(launcher "${CMAKE_COMMAND}" -E env CCACHE_DEPEND=1
        "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1)
    if(GEMEL_PCH)
        list(APPEND launcher CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_PCH_EXTSUM=1)
    endif()
    list(APPEND launcher "${GEMEL_CCACHE}")
    foreach(lang IN ITEMS C CXX)
        if(NOT DEFINED CMAKE_${lang}_COMPILER_LAUNCHER)
            set(CMAKE_${lang}_COMPILER_LAUNCHER "${launcher}")
        endif()
    endforeach()
endif()
