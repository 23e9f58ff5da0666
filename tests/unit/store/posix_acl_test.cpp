// SPDX-License-Identifier: Apache-2.0
// The kernel's own inheritance is the reference in directory_volume_create_test.cpp; here are the
// values it can't be asked about.
#include "engine/store/posix_acl.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <sys/stat.h>

namespace gemel {
namespace {

struct E {
    std::uint16_t tag, permissions;
    std::uint32_t id;
};
constexpr std::uint32_t kNobody = 0xFFFF'FFFF;

ByteBuffer acl(std::initializer_list<E> entries, std::uint32_t version = 2) {
    ByteBuffer value;
    ByteWriter writer(value);
    writer.put(version);
    for (const E& entry : entries) {
        writer.put(entry.tag);
        writer.put(entry.permissions);
        writer.put(entry.id);
    }
    return value;
}

TEST(PosixAcl, WithAMaskTheGroupClassIsTheMaskAndTheGroupEntryStays) {
    const ByteBuffer parent = acl(
        {{1, 7, kNobody}, {2, 6, 1000}, {4, 7, kNobody}, {0x10, 7, kNobody}, {0x20, 5, kNobody}});
    const Result<InheritedAcl> got = inherit_acl(parent, S_IFREG | 0640);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got->mode, static_cast<std::uint32_t>(S_IFREG | 0640));
    EXPECT_EQ(got->access, acl({{1, 6, kNobody},
                                {2, 6, 1000},
                                {4, 7, kNobody},
                                {0x10, 4, kNobody},
                                {0x20, 0, kNobody}}));
    EXPECT_TRUE(got->default_acl.empty());
}

TEST(PosixAcl, AMinimalDefaultOnlyLimitsTheMode) {
    const ByteBuffer parent = acl({{1, 7, kNobody}, {4, 5, kNobody}, {0x20, 0, kNobody}});
    const Result<InheritedAcl> got = inherit_acl(parent, S_IFDIR | S_ISGID | 0777);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got->mode, static_cast<std::uint32_t>(S_IFDIR | S_ISGID | 0750));
    EXPECT_TRUE(got->access.empty());
    EXPECT_EQ(got->default_acl, parent);
}

TEST(PosixAcl, WhatIsNoAclIsRefused) {
    EXPECT_FALSE(inherit_acl({}, S_IFREG | 0644).ok());
    EXPECT_FALSE(inherit_acl(acl({{1, 7, 0}, {4, 7, 0}, {0x20, 7, 0}}, 3), 0644).ok());
    EXPECT_FALSE(inherit_acl(acl({{1, 7, 0}, {4, 7, 0}}), 0644).ok());
    EXPECT_FALSE(inherit_acl(acl({{1, 8, 0}, {4, 7, 0}, {0x20, 7, 0}}), 0644).ok());
    EXPECT_FALSE(inherit_acl(acl({{1, 7, 0}, {4, 7, 0}, {0x20, 7, 0}, {0x40, 7, 0}}), 0644).ok());
    // Named entries need a mask (acl_valid(3)).
    EXPECT_FALSE(inherit_acl(acl({{1, 7, 0}, {2, 7, 5}, {4, 7, 0}, {0x20, 7, 0}}), 0644).ok());
    ByteBuffer torn = acl({{1, 7, 0}, {4, 7, 0}, {0x20, 7, 0}});
    torn.pop_back();
    EXPECT_FALSE(inherit_acl(torn, 0644).ok());
}

}  // namespace
}  // namespace gemel
