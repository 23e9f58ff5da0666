# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` puts where: binaries, systemd units, manual pages, documents, and the
# library with its headers and package files for embedders (find_package(gemel), gemel.pc).
# Needs every target; included last.

include(CMakePackageConfigHelpers)

set(GEMEL_SBIN "${CMAKE_INSTALL_FULL_SBINDIR}")
set(GEMEL_CONFIG_DIR "/etc/gemel")
set(GEMEL_CONFIG "${GEMEL_CONFIG_DIR}/gemel.toml")
set(GEMEL_UNIT_DIR "lib/systemd/system" CACHE STRING
    "Where the systemd units go")

foreach(name IN ITEMS gemeld)
    if(TARGET ${name})
        install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
    endif()
endforeach()
foreach(name IN ITEMS gemel gemel-bench)
    if(TARGET ${name})
        install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()

# The drivers of gemel-bench, and what they drive the nodes with.
if(TARGET gemel-bench)
    install(FILES
        bench/block.py bench/block_contenders.py bench/contenders.py bench/gluster.py
        bench/memory.py bench/mirror.py bench/neighbour.py bench/resync.py
        bench/resync_contenders.py
        bench/resync_goals.py bench/resync_plot.py bench/resync_volume.py bench/table.py
        DESTINATION "${CMAKE_INSTALL_DATADIR}/gemel/bench")
    install(FILES tools/lib/lab.py DESTINATION "${CMAKE_INSTALL_DATADIR}/gemel/lib")
endif()

foreach(unit IN ITEMS gemeld gemeld-witness gemel-guard)
    configure_file("packaging/systemd/${unit}.service.in" "packaging/${unit}.service" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/packaging/${unit}.service"
        DESTINATION "${GEMEL_UNIT_DIR}")
endforeach()

foreach(page IN ITEMS gemel.1 gemel-bench.1 gemel.toml.5 gemeld.8)
    string(REGEX MATCH "[0-9]$" section ${page})
    install(FILES "docs/man/${page}" DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
endforeach()
install(FILES README.md LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY docs/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/docs" FILES_MATCHING PATTERN "*.md")

# For embedders: libgemel.so and the headers of its API, for C gemel.h, for C++ gemel/*.hpp; and an
# archive of the same, for programs that are linked statically (libgemel.a).
install(TARGETS gemel_shared EXPORT gemel-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES "$<TARGET_FILE_DIR:gemel_shared>/libgemel.a" DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES frontends/capi/gemel.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY engine/include/gemel DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.hpp")

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/gemel")
configure_package_config_file(cmake/gemel-config.cmake.in gemel-config.cmake
    INSTALL_DESTINATION "${package}")
write_basic_package_version_file(gemel-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/gemel-config.cmake"
    "${PROJECT_BINARY_DIR}/gemel-config-version.cmake" DESTINATION "${package}")
install(EXPORT gemel-targets NAMESPACE gemel:: DESTINATION "${package}")

# For builds without CMake.
configure_file(cmake/gemel.pc.in gemel.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/gemel.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
