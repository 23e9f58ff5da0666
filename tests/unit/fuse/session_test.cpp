// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/handlers.hpp"
#include "tests/unit/fuse/session_fixture.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

namespace gemel::fuse {
namespace {

class FuseSession : public SessionTest {};

TEST_F(FuseSession, ServingKeepsCachesAndTheSecondaryDoesNot) {
    start(false);
    const InitOut serving = init().as<InitOut>();
    EXPECT_EQ(serving.major, 7U);
    EXPECT_EQ(serving.max_write, 1024U * 1024);
    EXPECT_EQ(serving.max_pages, 256U);
    EXPECT_NE(serving.flags & kInitCacheSymlinks, 0U);
    EXPECT_NE(serving.flags & kInitPosixAcl, 0U);
    EXPECT_NE(serving.flags & kInitHandleKillprivV2, 0U);
    EXPECT_NE(serving.flags & kInitDontMask, 0U);
    EXPECT_EQ(serving.flags & (1U << 16), 0U) << "write-back caching would lose acknowledged data";
    EXPECT_EQ(serving.flags & ((1U << 1) | (1U << 10)), 0U) << "locks belong to the kernel";
    EXPECT_EQ(serving.flags & (1U << 3), 0U) << "O_TRUNC at open is not handled";
    EXPECT_NE(serving.flags2 & (1U << 4), 0U) << "a direct file could not be mapped";
    const std::uint64_t file = make_file("f", "x");
    EXPECT_GT(send(Opcode::lookup, kRootNode, name("f")).as<EntryOut>().entry_valid, 1000000U);
    EXPECT_EQ(send(Opcode::lookup, kRootNode, name("none")).as<EntryOut>().nodeid, 0U);
    EXPECT_EQ(send(Opcode::open, file, raw(OpenIn{})).as<OpenOut>().open_flags & kOpenDirectIo, 0U);
}

TEST_F(FuseSession, SecondaryCachesNothingAndRefusesEveryChange) {
    start(true);
    const InitOut out = init().as<InitOut>();
    EXPECT_EQ(out.flags & (kInitCacheSymlinks | kInitDoReaddirplus), 0U);
    EXPECT_EQ(send(Opcode::lookup, kRootNode, name("none")).error, ENOENT);
    EXPECT_EQ(send(Opcode::getattr, kRootNode, raw(GetattrIn{})).as<AttrOut>().attr_valid, 0U);
    EXPECT_NE(send(Opcode::open, kRootNode, raw(OpenIn{})).as<OpenOut>().open_flags & kOpenDirectIo,
              0U);
    for (std::uint32_t opcode = 0; opcode < kOpcodeCount; ++opcode) {
        if (!changes_volume(opcode)) continue;
        EXPECT_EQ(send(Opcode{opcode}, kRootNode, std::string(200, '\0')).error, EROFS) << opcode;
    }
    EXPECT_TRUE(target_->executed.empty());
}

TEST_F(FuseSession, OtherProtocolVersionsAreAnswered) {
    start(false);
    EXPECT_EQ(init(30).error, EPROTO);
    const std::uint32_t words[16] = {8, 0, 0, 0, 0};
    const Answer newer = send(Opcode::init, 0, raw(words));
    EXPECT_EQ(newer.error, 0);
    EXPECT_EQ(newer.as<InitOut>().major, 7U);
    EXPECT_EQ(send(Opcode::getattr, kRootNode, raw(GetattrIn{})).error, EIO)
        << "served before INIT";
}

TEST_F(FuseSession, EveryOpcodeIsHandledOrRefusedWithAReason) {
    for (std::uint32_t opcode = 1; opcode < kOpcodeCount; ++opcode) {
        if (opcode == 7 || opcode == 19) continue;  // numbers never used
        const char* reason = refusal_reason(opcode);
        if (reason == nullptr) continue;
        EXPECT_EQ(std::string_view(reason).find("no such opcode"), std::string_view::npos)
            << opcode;
    }
    start(false);
    init();
    EXPECT_EQ(send(Opcode::flush, kRootNode, std::string(24, '\0')).error, ENOSYS);
    EXPECT_EQ(send(Opcode{4096}, kRootNode, "").error, ENOSYS);
}

TEST_F(FuseSession, TruncatedRequestsAreAnsweredOnceAndHarmless) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "content");
    const std::string full(160, 'A');
    for (std::uint32_t opcode = 1; opcode < kOpcodeCount + 2; ++opcode) {
        for (std::size_t size = 0; size <= full.size(); size += opcode == 16 ? 1 : 4) {
            for (const std::uint64_t node : {kRootNode, file, std::uint64_t{999}}) {
                const std::size_t dropped = transport_.dropped;
                const std::uint64_t unique =
                    begin(Opcode{opcode}, node, std::string_view(full).substr(0, size));
                if (transport_.dropped == dropped) wait_for(unique);
            }
        }
    }
    EXPECT_EQ(session_->in_progress(), 0U);
    EXPECT_EQ(send(Opcode::lookup, kRootNode, name("f")).as<EntryOut>().nodeid, file);
}

TEST_F(FuseSession, NamesThatAreNoNamesAreRefused) {
    start(false);
    init();
    EXPECT_EQ(send(Opcode::lookup, kRootNode, name(std::string(256, 'n'))).error, ENAMETOOLONG);
    const MkdirIn in{0755, 0};
    for (const char* bad : {"", ".", "..", "a/b"}) {
        EXPECT_NE(send(Opcode::mkdir, kRootNode, raw(in) + name(bad)).error, 0) << bad;
    }
    EXPECT_EQ(send(Opcode::unlink, kRootNode, "no end").error, EIO);
}

TEST_F(FuseSession, OpenDuringARemovalKeepsTheObject) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "kept");
    target_->held = true;
    const std::uint64_t unlink = begin(Opcode::unlink, kRootNode, name("f"));
    EXPECT_FALSE(is_answered(unlink));
    EXPECT_EQ(send(Opcode::open, file, raw(OpenIn{})).error, 0);
    target_->release();
    EXPECT_EQ(wait_for(unlink).error, 0);
    ReadIn read{};
    read.size = 100;
    EXPECT_EQ(send(Opcode::read, file, raw(read)).data, "kept");
    EXPECT_EQ(send(Opcode::getattr, file, raw(GetattrIn{})).as<AttrOut>().attr.nlink, 0U);
    EXPECT_EQ(send(Opcode::release, file, raw(ReleaseIn{})).error, 0);
    EXPECT_EQ(target_->executed.back(), OpKind::release_orphan);
    EXPECT_EQ(send(Opcode::open, file, raw(OpenIn{})).error, ESTALE);
}

TEST_F(FuseSession, LastReleaseDuringARemovalLeavesNoOrphan) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "x");
    EXPECT_EQ(send(Opcode::open, file, raw(OpenIn{})).error, 0);
    target_->held = true;
    const std::uint64_t unlink = begin(Opcode::unlink, kRootNode, name("f"));
    EXPECT_EQ(send(Opcode::release, file, raw(ReleaseIn{})).error, 0);
    target_->release();
    EXPECT_EQ(wait_for(unlink).error, 0);
    EXPECT_EQ(target_->executed.back(), OpKind::release_orphan);
    EXPECT_FALSE(volume_->exists(ObjectId{file}));
}

TEST_F(FuseSession, RemovedObjectStillShowsItsAttributes) {
    start(false);
    init();
    const MkdirIn in{0755, 0};
    const std::uint64_t directory =
        send(Opcode::mkdir, kRootNode, raw(in) + name("d")).as<EntryOut>().nodeid;
    EXPECT_EQ(send(Opcode::rmdir, kRootNode, name("d")).error, 0);
    const Answer gone = send(Opcode::getattr, directory, raw(GetattrIn{}));
    EXPECT_EQ(gone.error, 0);
    EXPECT_EQ(gone.as<AttrOut>().attr.nlink, 0U);
    EXPECT_EQ(gone.as<AttrOut>().attr.mode, S_IFDIR | 0755U);
    EXPECT_EQ(send(Opcode::getattr, 12345, raw(GetattrIn{})).error, ESTALE);
}

TEST_F(FuseSession, SizeAndModeOfOneRequestAreBothSet) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "long content", 06777);
    SetattrIn in{};
    in.valid = kSetattrSize | kSetattrMode | kSetattrMtime;
    in.size = 4;
    in.mode = S_IFREG | 0600;
    in.mtime = 1000;
    in.mtimensec = 5;
    const Attr attr = send(Opcode::setattr, file, raw(in)).as<AttrOut>().attr;
    EXPECT_EQ(attr.size, 4U);
    EXPECT_EQ(attr.mode, S_IFREG | 0600U);
    EXPECT_EQ(attr.mtime, 1000U);
    EXPECT_EQ(attr.mtimensec, 5U);
}

TEST_F(FuseSession, RequestBeforeAWriteDropsSetIdForOthersOnly) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "x", 06777);
    const SetattrIn nothing{};
    EXPECT_EQ(send(Opcode::setattr, file, raw(nothing), 0).as<AttrOut>().attr.mode,
              S_IFREG | 06777U);
    EXPECT_EQ(send(Opcode::setattr, file, raw(nothing), 1000).as<AttrOut>().attr.mode,
              S_IFREG | 0777U);
}

TEST_F(FuseSession, DsyncWriteIsSyncedWhereTheKernelWillNotAsk) {
    start(false);
    init(38);
    const std::uint64_t file = make_file("f", "x");
    WriteIn in{};
    in.size = 4;
    in.flags = O_WRONLY | O_DSYNC;
    EXPECT_EQ(send(Opcode::write, file, raw(in) + "data").as<WriteOut>().size, 4U);
    ASSERT_EQ(target_->synced.size(), 1U) << "acknowledged without being durable";
    EXPECT_EQ(target_->synced[0].value, file);
    EXPECT_TRUE(target_->last_sync_data_only);
    in.flags = O_WRONLY;
    EXPECT_EQ(send(Opcode::write, file, raw(in) + "data").error, 0);
    EXPECT_EQ(target_->synced.size(), 1U);
    in.flags = O_WRONLY | O_SYNC;
    EXPECT_EQ(send(Opcode::write, file, raw(in) + "data").error, 0);
    EXPECT_EQ(target_->synced.size(), 2U);
    EXPECT_FALSE(target_->last_sync_data_only) << "O_SYNC covers the attributes too";
}

TEST_F(FuseSession, FdatasyncIsToldFromFsync) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "x");
    FsyncIn in{};
    EXPECT_EQ(send(Opcode::fsync, file, raw(in)).error, 0);
    ASSERT_EQ(target_->synced.size(), 1U);
    EXPECT_FALSE(target_->last_sync_data_only);
    in.fsync_flags = kFsyncDataOnly;
    EXPECT_EQ(send(Opcode::fsync, file, raw(in)).error, 0);
    ASSERT_EQ(target_->synced.size(), 2U);
    EXPECT_TRUE(target_->last_sync_data_only);
    EXPECT_EQ(send(Opcode::fsync, file, "").error, EIO) << "a body that is too short";
}

TEST_F(FuseSession, DirectDsyncWriteIsSyncedOnEveryKernel) {
    start(false);
    init(45);
    const std::uint64_t file = make_file("f", "x");
    WriteIn in{};
    in.size = 4;
    in.flags = O_WRONLY | O_DIRECT | O_DSYNC;
    EXPECT_EQ(send(Opcode::write, file, raw(in) + "data").error, 0);
    EXPECT_EQ(target_->synced.size(), 1U);
}

TEST_F(FuseSession, ListingIsPagedWithoutLossOrRepetition) {
    start(false);
    init();
    std::map<std::string, int> expected{{".", 1}, {"..", 1}};
    for (int i = 0; i < 60; ++i) {
        const std::string file = "file" + std::to_string(i);
        make_file(file, "");
        expected[file] = 1;
    }
    for (const Opcode opcode : {Opcode::readdir, Opcode::readdirplus}) {
        const std::size_t head = opcode == Opcode::readdirplus ? sizeof(EntryOut) : 0;
        std::map<std::string, int> seen;
        ReadIn in{};
        in.size = 500;
        for (int page = 0; page < 200; ++page) {
            const Answer answer = send(opcode, kRootNode, raw(in));
            ASSERT_EQ(answer.error, 0);
            if (answer.data.empty()) break;
            for (std::size_t at = 0; at < answer.data.size();) {
                const auto record = answer.as<Dirent>(at + head);
                ++seen[answer.data.substr(at + head + sizeof record, record.namelen)];
                EXPECT_NE(record.ino, 0U);
                in.offset = record.off;
                at += head + dirent_size(record.namelen);
            }
        }
        EXPECT_EQ(seen, expected);
    }
}

TEST_F(FuseSession, ReadWaitsForMemoryAndThenAnswers) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "content");
    transport_.space_is_short = true;
    ReadIn in{};
    in.size = 100;
    in.offset = 3;
    const std::uint64_t read = begin(Opcode::read, file, raw(in));
    world_.run_for(Duration::seconds(1));
    EXPECT_FALSE(is_answered(read));
    session_->on_space();
    EXPECT_FALSE(is_answered(read)) << "answered without memory";
    transport_.space_is_short = false;
    session_->on_space();
    EXPECT_EQ(wait_for(read).data, "tent");
}

TEST_F(FuseSession, EndComesAfterTheLastOperationInFlight) {
    start(false);
    init();
    target_->held = true;
    const MkdirIn in{0755, 0};
    const std::uint64_t mkdir = begin(Opcode::mkdir, kRootNode, raw(in) + name("d"));
    session_->close();
    world_.run_for(Duration::seconds(1));
    EXPECT_FALSE(ended_) << "its memory would be freed under the operation";
    target_->release();
    EXPECT_TRUE(world_.run_until([this] { return ended_; }));
    EXPECT_TRUE(is_answered(mkdir));
}

TEST_F(FuseSession, ExistingFileIsOpenedByCreateUnlessExclusive) {
    start(false);
    init();
    const std::uint64_t file = make_file("f", "old");
    const CreateIn shared{O_RDWR, S_IFREG | 0644, 0, 0};
    const Answer again = send(Opcode::create, kRootNode, raw(shared) + name("f"));
    EXPECT_EQ(again.error, 0);
    EXPECT_EQ(again.as<EntryOut>().nodeid, file);
    EXPECT_EQ(session_->opened().size(), 1U);
    const CreateIn exclusive{O_RDWR | O_EXCL, S_IFREG | 0644, 0, 0};
    EXPECT_EQ(send(Opcode::create, kRootNode, raw(exclusive) + name("f")).error, EEXIST);
}

TEST_F(FuseSession, WhiteoutIsRefusedAndForgetsAreNotAnswered) {
    start(false);
    init();
    make_file("f", "x");
    const Rename2In in{kRootNode, RENAME_WHITEOUT, 0};
    EXPECT_EQ(send(Opcode::rename2, kRootNode, raw(in) + name("f") + name("g")).error, EINVAL);
    begin(Opcode::forget, kRootNode, raw(ForgetIn{1}));
    begin(Opcode::batch_forget, kRootNode, std::string(8, '\0'));
    begin(Opcode::interrupt, 0, std::string(8, '\0'));
    EXPECT_EQ(transport_.dropped, 3U);
}

}  // namespace
}  // namespace gemel::fuse
