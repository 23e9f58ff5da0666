// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/codec.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace gemel::fuse {
namespace {

TEST(FuseBody, ReadsStructsStringsAndRest) {
    const std::string text = std::string("\x01\0\0\0\0\0\0\0", 8) + "name" + '\0' + "data";
    Body body(as_bytes(text));
    EXPECT_EQ(body.take<std::uint64_t>(), 1U);
    EXPECT_EQ(body.string(), "name");
    EXPECT_EQ(as_text(body.bytes(4)), "data");
    EXPECT_TRUE(body.ok());
    EXPECT_TRUE(body.bytes(1).empty());
    EXPECT_FALSE(body.ok());
}

TEST(FuseBody, StaysFailedAfterAShortRead) {
    const std::string text = "abc";
    Body body(as_bytes(text));
    EXPECT_EQ(body.take<std::uint64_t>(), 0U);
    EXPECT_FALSE(body.ok());
    EXPECT_EQ(body.take<std::uint8_t>(), 0U);
    EXPECT_TRUE(body.string().empty());
    Body unended(as_bytes(text));
    EXPECT_TRUE(unended.string().empty());
    EXPECT_FALSE(unended.ok());
}

TEST(FuseNames, AreOneComponentOfAtMost255Bytes) {
    EXPECT_EQ(name_error("plain"), 0);
    EXPECT_EQ(name_error(std::string(255, '\xff')), 0);
    EXPECT_EQ(name_error("..."), 0);
    EXPECT_EQ(name_error(std::string(256, 'x')), ENAMETOOLONG);
    EXPECT_EQ(name_error(""), ENOENT);
    EXPECT_EQ(name_error("."), EINVAL);
    EXPECT_EQ(name_error(".."), EINVAL);
    EXPECT_EQ(name_error("a/b"), EINVAL);
}

TEST(FuseDevices, EveryNumberOf32BitsSurvives) {
    for (const unsigned major_number : {0U, 1U, 8U, 259U, 4095U}) {
        for (const unsigned minor_number : {0U, 3U, 255U, 256U, 70000U, 1048575U}) {
            const std::uint64_t device = makedev(major_number, minor_number);
            EXPECT_EQ(decode_device(encode_device(device)), device);
        }
    }
    EXPECT_EQ(encode_device(makedev(1, 3)), 0x103U);
}

TEST(FuseAttributesCodec, NothingIsLost) {
    Attributes from;
    from.id = ObjectId{77};
    from.stat.mode = S_IFREG | 0640;
    from.stat.size = 123456789012345;
    from.stat.blocks_512 = 99;
    from.stat.link_count = 3;
    from.stat.uid = 4;
    from.stat.gid = 5;
    from.stat.block_size = 4096;
    from.stat.accessed = {-5, 1};
    from.stat.modified = {6, 2};
    from.stat.changed = {7, 3};
    from.stat.born = {8, 4};
    Attr attr;
    fill_attr(from, attr);
    EXPECT_EQ(attr.ino, 77U);
    EXPECT_EQ(attr.size, 123456789012345U);
    EXPECT_EQ(attr.blocks, 99U);
    EXPECT_EQ(static_cast<std::int64_t>(attr.atime), -5);
    EXPECT_EQ(attr.mtimensec, 2U);
    EXPECT_EQ(attr.nlink, 3U);
    Statx statx;
    fill_statx(from, statx);
    EXPECT_EQ(statx.btime.tv_sec, 8);
    EXPECT_EQ(statx.btime.tv_nsec, 4U);
    EXPECT_EQ(statx.mask, 0xfffU);
    from.stat.born = {};
    fill_statx(from, statx);
    EXPECT_EQ(statx.mask, 0x7ffU);
}

TEST(FuseSetId, GroupBitStaysWithoutGroupExecution) {
    EXPECT_EQ(without_set_id(06777), 0777U);
    EXPECT_EQ(without_set_id(06767), 02767U);
    EXPECT_EQ(without_set_id(0755), 0755U);
}

TEST(FuseDirents, RecordsAreAlignedAndNeverCutShort) {
    std::array<std::byte, 200> space;
    space.fill(std::byte{0xee});
    DirentWriter writer(MutableBytes(space).first(100), false);
    EXPECT_TRUE(writer.add("abc", 5, S_IFDIR, 9, {}));
    EXPECT_TRUE(writer.add(std::string(16, 'x'), 6, S_IFREG, 10, {}));
    EXPECT_FALSE(writer.add("y", 7, S_IFREG, 11, {}));
    ASSERT_EQ(writer.filled().size(), 32U + 40U);
    Dirent first;
    std::memcpy(&first, space.data(), sizeof first);
    EXPECT_EQ(first.type, 4U);  // DT_DIR
    EXPECT_EQ(first.off, 9U);
    EXPECT_EQ(space[27], std::byte{0}) << "memory of ours would reach an application";
    EXPECT_EQ(space[72], std::byte{0xee});
    DirentWriter plus(MutableBytes(space).first(24 + 128 + 8 - 1), true);
    EXPECT_FALSE(plus.add("z", 1, S_IFREG, 1, {}));
}

}  // namespace
}  // namespace gemel::fuse
