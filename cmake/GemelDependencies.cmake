# SPDX-License-Identifier: Apache-2.0
#
# Every library that gemel links, found once, by the name that the folders use. What each is for
# stands in docs/dependencies.md; the Debian packages stand in tools/lib/install.sh.
#
#   PkgConfig::liburing  PkgConfig::xxhash  PkgConfig::zstd  OpenSSL::Crypto
#   tomlplusplus::tomlplusplus  CLI11::CLI11  nlohmann_json::nlohmann_json  fmt::fmt  spdlog::spdlog
#   PkgConfig::microhttpd  PkgConfig::curl  GTest::gtest GTest::gtest_main  benchmark::benchmark
#   PkgConfig::libbpf  PkgConfig::sqlite3

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing>=2.3)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash>=0.8.0)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd>=1.4)
pkg_check_modules(microhttpd REQUIRED IMPORTED_TARGET libmicrohttpd>=0.9.70)
pkg_check_modules(curl REQUIRED IMPORTED_TARGET libcurl>=7.40)
# The change tracker is left out where one of the three is missing (ebpf/).
pkg_check_modules(libbpf IMPORTED_TARGET libbpf>=1.1)
find_program(GEMEL_BPF_CLANG NAMES clang-16 clang DOC "clang for the BPF programs")
find_program(GEMEL_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin DOC "makes their skeleton")
if(libbpf_FOUND AND GEMEL_BPF_CLANG AND GEMEL_BPFTOOL)
    set(GEMEL_HAS_TRACKER ON)
else()
    set(GEMEL_HAS_TRACKER OFF)
    message(STATUS "no change tracker: clang, bpftool and libbpf are needed")
endif()
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_package(tomlplusplus 3.0 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(fmt 9 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
if(GEMEL_TESTS)
    find_package(GTest 1.12 REQUIRED)
    pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3>=3.40)
    find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
endif()
if(GEMEL_BENCH)
    find_package(benchmark 1.7 REQUIRED)
endif()
