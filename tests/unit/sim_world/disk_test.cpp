// SPDX-License-Identifier: Apache-2.0
// What is particular to the simulated disk: its limits, its mounts, its faults. What it has in
// common with a real one stands in tests/unit/io.
#include "tests/unit/sim_world/scenario.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <string>

namespace gemel::sim {
namespace {

class DiskTest : public testing::Test {
   protected:
    DiskTest() { start(); }
    void start() {
        vfs = &node.start().vfs();
        root = vfs->open_directory("/").value();
    }
    Fd open(std::string_view name, int flags = O_RDWR | O_CREAT) {
        return vfs->open_at(root, name, flags, 0644).value();
    }

    World world{11};
    Node& node = add_plain_node(world, 0);
    SimVfs* vfs = nullptr;
    Fd root;
};

TEST_F(DiskTest, FullDiskShortensWritesThenRefusesUntilSpaceIsFreed) {
    node.disk().set_capacity(4 * kPageSize);
    const Fd file = open("f");
    const std::string block(6 * kPageSize, 'x');
    EXPECT_EQ(vfs->pwrite(file, as_bytes(block), 0).value(), 4 * kPageSize);
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("x"), 4 * kPageSize).status().is_errno(ENOSPC));
    EXPECT_TRUE(vfs->make_directory(root, "d", 0755).is_errno(ENOSPC));
    EXPECT_TRUE(vfs->allocate(file, 0, 0, 5 * kPageSize).is_errno(ENOSPC));
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("y"), 0).ok());  // in place
    EXPECT_EQ(vfs->stat_file_system(root)->blocks_free, 0U);
    EXPECT_TRUE(vfs->truncate(file, kPageSize).ok());
    EXPECT_EQ(vfs->stat_file_system(root)->blocks_free, 3U);
    EXPECT_TRUE(vfs->make_directory(root, "d", 0755).ok());
}

TEST_F(DiskTest, SpaceOfAnUnlinkedFileIsFreeAfterItsLastClose) {
    const std::uint64_t before = vfs->stat_file_system(root)->blocks_free;
    const Fd file = open("f");
    EXPECT_TRUE(vfs->pwrite(file, as_bytes(std::string(5 * kPageSize, 'x')), 0).ok());
    EXPECT_TRUE(vfs->unlink(root, "f", false).ok());
    EXPECT_EQ(vfs->stat_file_system(root)->blocks_free, before - 5);
    vfs->close(file);
    EXPECT_EQ(vfs->stat_file_system(root)->blocks_free, before);
}

TEST_F(DiskTest, UsedAgainInodeIsNotFoundByItsOldHandle) {
    const Fd file = open("f");
    const FileHandle handle = vfs->handle_of(file).value();
    const std::uint64_t number = vfs->stat(file)->inode;
    vfs->close(file);
    EXPECT_TRUE(vfs->unlink(root, "f", false).ok());
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    const Fd next = open("g");
    EXPECT_EQ(vfs->stat(next)->inode, number);
    EXPECT_TRUE(vfs->open_by_handle(root, handle, O_RDONLY).status().is_errno(ESTALE));
}

TEST_F(DiskTest, HandleOutlivesRenameAndPowerCut) {
    const Fd file = open("f");
    const FileHandle handle = vfs->handle_of(file).value();
    EXPECT_TRUE(vfs->rename(root, "f", root, "g", 0).ok());
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    node.power_cut();
    start();
    EXPECT_TRUE(vfs->open_by_handle(root, handle, O_RDWR).ok());
}

TEST_F(DiskTest, MountsAreFileSystemsOfTheirOwn) {
    node.mount("/state", {});
    node.make_directories("/state/gemel/m");
    const Fd state = vfs->open_directory("/state/gemel").value();
    EXPECT_TRUE(vfs->stat_at(state, "m").ok());
    EXPECT_NE(vfs->stat(state)->device, vfs->stat(root)->device);
    EXPECT_TRUE(vfs->rename(state, "m", root, "m", 0).is_errno(EXDEV));
    EXPECT_TRUE(vfs->open_directory("/statement").status().is_errno(ENOENT));
    EXPECT_TRUE(vfs->make_directory(state, "n", 0755).ok());
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    EXPECT_FALSE(node.disk(1).is_clean());  // the other file system's
    EXPECT_TRUE(vfs->sync_file_system(state).ok());
    EXPECT_TRUE(node.disk(1).is_clean());
}

TEST_F(DiskTest, FileSystemMayLackTrustedXattrsAndHandles) {
    FileSystemOptions options;
    options.has_trusted_xattrs = options.has_handles = false;
    node.mount("/old", options);
    const Fd old = vfs->open_directory("/old").value();
    EXPECT_TRUE(vfs->set_xattr(old, "trusted.x", as_bytes("1"), 0).is_errno(EOPNOTSUPP));
    EXPECT_TRUE(vfs->handle_of(old).status().is_errno(EOPNOTSUPP));
}

TEST_F(DiskTest, NewDirectoriesInheritTheDefaultAclAndFilesDoNot) {
    EXPECT_TRUE(vfs->set_xattr(root, "system.posix_acl_default", as_bytes("acl"), 0).ok());
    EXPECT_TRUE(vfs->make_directory(root, "d", 0755).ok());
    open("f");
    std::byte value[8];
    EXPECT_EQ(vfs->get_xattr(open("d", O_RDONLY), "system.posix_acl_default", value).value(), 3U);
    EXPECT_TRUE(vfs->list_xattrs(open("f")).value().empty());
}

// --- Faults --------------------------------------------------------------------------------------

TEST_F(DiskTest, ScriptedFaultHitsExactlyItsCalls) {
    ScriptedFaults faults;
    faults.add({VfsCall::write, &node.disk(), 2, 3, {EIO, false, 0}});
    node.set_fault_policy(&faults);
    const Fd file = open("f");
    std::string answers;
    for (int i = 0; i < 8; ++i) answers += vfs->pwrite(file, as_bytes("x"), 0).ok() ? "." : "E";
    EXPECT_EQ(answers, "..EEE...");
    EXPECT_EQ(faults.hits(), 3U);
    node.set_fault_policy(nullptr);
}

TEST_F(DiskTest, ScriptedFaultMayShortenTransfers) {
    ScriptedFaults faults;
    faults.add({VfsCall::write, nullptr, 0, 1, {0, false, 3}});
    node.set_fault_policy(&faults);
    const Fd file = open("f");
    EXPECT_EQ(vfs->pwrite(file, as_bytes("abcdef"), 0).value(), 3U);
    EXPECT_EQ(vfs->pwrite(file, as_bytes("abcdef"), 0).value(), 6U);
    node.set_fault_policy(nullptr);
}

TEST_F(DiskTest, PagesLostAtAFailedSyncAreReadBackOldOnceEvicted) {
    const Fd file = open("f");
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("old"), 0).ok());
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("new"), 0).ok());
    ScriptedFaults faults;
    faults.add({VfsCall::sync_file_system, nullptr, 0, 1, {EIO, true, 0}});
    node.set_fault_policy(&faults);
    EXPECT_TRUE(vfs->sync_file_system(root).is_errno(EIO));
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    EXPECT_TRUE(vfs->drop_cache(file).ok());
    std::byte buffer[3];
    EXPECT_TRUE(vfs->pread(file, buffer, 0).ok());
    EXPECT_EQ(as_text(buffer), "old");
    node.set_fault_policy(nullptr);
}

TEST_F(DiskTest, PageWrittenAgainAfterAFailedSyncIsSyncedByTheNext) {
    ScriptedFaults faults;
    faults.add({VfsCall::sync, nullptr, 0, 1, {EIO, true, 0}});
    node.set_fault_policy(&faults);
    const Fd file = open("f");
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("one"), 0).ok());
    EXPECT_TRUE(vfs->sync(file, false).is_errno(EIO));
    EXPECT_TRUE(vfs->pwrite(file, as_bytes("two"), 0).ok());
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    node.power_cut();
    start();
    std::byte buffer[3];
    EXPECT_TRUE(vfs->pread(open("f"), buffer, 0).ok());
    EXPECT_EQ(as_text(buffer), "two");
    node.set_fault_policy(nullptr);
}

TEST_F(DiskTest, DescriptorsOfAKilledProcessAreClosed) {
    const Fd file = open("f");
    EXPECT_TRUE(vfs->unlink(root, "f", false).ok());
    EXPECT_EQ(vfs->open_count(), 2U);
    const SimVfs* const dead = vfs;
    node.kill_process();
    EXPECT_EQ(dead->open_count(), 0U);
    start();
    EXPECT_TRUE(vfs->sync_file_system(root).ok());
    EXPECT_EQ(node.disk().inode_count(), 1U);
    (void)file;
}

}  // namespace
}  // namespace gemel::sim
