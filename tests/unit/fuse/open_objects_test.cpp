// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/open_objects.hpp"

#include "frontends/fuse/removed_objects.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr ObjectId kFile{100};

TEST(OpenObjects, OrphanGoesWithItsLastCloseOnly) {
    OpenObjects opened;
    opened.open(kFile);
    opened.open(kFile);
    PendingRemoval removal;
    Op op;
    opened.begin_removal(removal, kFile, op);
    EXPECT_TRUE(op.object_in_use);
    EXPECT_FALSE(opened.end_removal(removal, true));
    EXPECT_TRUE(opened.is_orphan(kFile));
    EXPECT_FALSE(opened.close(kFile));
    EXPECT_TRUE(opened.close(kFile));
    EXPECT_EQ(opened.size(), 0U);
    EXPECT_FALSE(opened.close(kFile)) << "a release too many is the kernel's matter";
}

TEST(OpenObjects, OpenMarksARemovalThatIsOnItsWay) {
    OpenObjects opened;
    PendingRemoval removal, other;
    Op op, other_op;
    opened.begin_removal(removal, kFile, op);
    opened.begin_removal(other, ObjectId{200}, other_op);
    EXPECT_FALSE(op.object_in_use);
    opened.open(kFile);
    EXPECT_TRUE(op.object_in_use);
    EXPECT_FALSE(other_op.object_in_use);
    EXPECT_FALSE(opened.end_removal(other, false));
    EXPECT_FALSE(opened.end_removal(removal, true));
    EXPECT_TRUE(opened.close(kFile));
}

TEST(OpenObjects, CloseBeforeTheEndOfTheRemovalLeavesItToTheEnd) {
    OpenObjects opened;
    opened.open(kFile);
    PendingRemoval removal;
    Op op;
    opened.begin_removal(removal, kFile, op);
    EXPECT_FALSE(opened.close(kFile));
    EXPECT_TRUE(opened.end_removal(removal, true));
}

TEST(OpenObjects, NameTakenByATemporaryFileEndsItsOrphanhood) {
    OpenObjects opened;
    opened.open(kFile);
    opened.mark_orphan(kFile);
    opened.clear_orphan(kFile);
    EXPECT_FALSE(opened.close(kFile)) << "a named file would be removed";
}

TEST(RemovedObjects, LastOnesAreRemembered) {
    RemovedObjects removed;
    for (std::uint64_t i = 1; i <= RemovedObjects::kCountMax + 1; ++i) {
        Attributes attributes;
        attributes.id = ObjectId{1000 + i};
        attributes.stat.link_count = 2;
        removed.remember(attributes);
    }
    EXPECT_EQ(removed.find(ObjectId{1001}), nullptr);
    ASSERT_NE(removed.find(ObjectId{1002}), nullptr);
    EXPECT_EQ(removed.find(ObjectId{1002})->stat.link_count, 0U);
}

}  // namespace
}  // namespace gemel
