# SPDX-License-Identifier: Apache-2.0
#
# ccache when it is installed and nobody chose another launcher.

find_program(GEMEL_CCACHE ccache)
if(GEMEL_CCACHE)
    foreach(lang IN ITEMS C CXX)
        if(NOT DEFINED CMAKE_${lang}_COMPILER_LAUNCHER)
            set(CMAKE_${lang}_COMPILER_LAUNCHER "${GEMEL_CCACHE}")
        endif()
    endforeach()
endif()
