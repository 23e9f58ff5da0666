// SPDX-License-Identifier: Apache-2.0
// Base of the tests that share one mounted volume; each test has a directory of its own in it.
#pragma once

#include "tests/root/fuse_fixture.hpp"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>
#include <set>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace gemel {

inline constexpr unsigned kUser = 1234, kGroup = 2345;

class FuseTest : public ::testing::Test {
   protected:
    static MountedVolume& volume();

    void SetUp() override;
    void TearDown() override;

    // Through the mount, and below it, in this test's own directory.
    [[nodiscard]] std::string path(std::string_view name = {}) const;
    [[nodiscard]] std::string bare(std::string_view name = {}) const;

    static struct stat stat_of(const std::string& path);
    static void write_file(const std::string& path, std::string_view content);
    static std::string read_file(const std::string& path);
    static std::set<std::string> list(const std::string& path, std::size_t* count = nullptr);
    // Unlinked objects that are still kept.
    static std::size_t count_orphans();
    // Until gemel has heard of every close that this test has made.
    void wait_for_closes();

   private:
    std::string name_;
};

}  // namespace gemel
