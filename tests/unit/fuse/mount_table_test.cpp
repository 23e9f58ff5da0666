// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/mount_table.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

TEST(MountTable, ReadsEscapesAndOptionalFields) {
    const auto mounts = parse_mount_table(
        "36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:7 - ext3 /dev/root rw\n"
        "not a line\n"
        "37 36 0:44 / /srv/data ro - fuse.gemel gemel:db ro,user_id=0");
    ASSERT_EQ(mounts.size(), 2U);
    EXPECT_EQ(mounts[0].target, "/mnt 2\\x");
    EXPECT_EQ(mounts[0].type, "ext3");
    EXPECT_EQ(mounts[0].device_major, 98U);
    EXPECT_EQ(mounts[1].type, "fuse.gemel");
    EXPECT_EQ(mounts[1].source, "gemel:db");
    EXPECT_EQ(mounts[1].device_minor, 44U);
}

TEST(MountTable, LayersAreOrderedByWhatTheyCover) {
    const auto mounts = parse_mount_table(
        "30 20 0:1 / / rw - ext4 a rw\n"
        "52 51 0:4 / /d rw - fuse.gemel top rw\n"
        "51 50 0:3 / /d rw - tmpfs middle rw\n"
        "50 30 0:2 / /d rw - ext4 low rw\n"
        "60 50 0:5 / /d/inner rw - tmpfs inner rw\n");
    const auto layers = layers_at(mounts, "/d");
    ASSERT_EQ(layers.size(), 3U);
    EXPECT_EQ(layers[0].source, "low");
    EXPECT_EQ(layers[1].source, "middle");
    EXPECT_EQ(layers[2].source, "top");
    EXPECT_TRUE(layers_at(mounts, "/none").empty());
    EXPECT_EQ(layers_at(mounts, "/").size(), 1U);
}

TEST(MountTable, InsideIsByComponents) {
    EXPECT_TRUE(is_inside("/a/b", "/a"));
    EXPECT_TRUE(is_inside("/a", "/a"));
    EXPECT_FALSE(is_inside("/ab", "/a"));
    EXPECT_FALSE(is_inside("/", "/a"));
    EXPECT_TRUE(is_inside("/a", "/"));
}

TEST(MountTable, PresentTableHasARoot) {
    const auto mounts = read_mount_table();
    ASSERT_TRUE(mounts.ok());
    EXPECT_FALSE(layers_at(mounts.value(), "/").empty());
}

}  // namespace
}  // namespace gemel
