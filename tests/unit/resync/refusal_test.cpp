// SPDX-License-Identifier: Apache-2.0
// A refusal (a full volume, a quota, no descriptors left) at every step of every op of the serving
// node: whatever the application is told, both copies stay equal, and both nodes go on.
#include "engine/io/sim/fault_policy.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <array>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel::resync_test {

namespace {

using sim::VfsCall;

// Those by which an op changes something, or gets hold of what it changes.
constexpr std::pair<VfsCall, int> kRefusals[] = {
    {VfsCall::open, EMFILE},      {VfsCall::write, ENOSPC},          {VfsCall::truncate, ENOSPC},
    {VfsCall::make, ENOSPC},      {VfsCall::allocate, ENOSPC},       {VfsCall::copy, ENOSPC},
    {VfsCall::link, ENOSPC},      {VfsCall::unlink, ENOSPC},         {VfsCall::rename, ENOSPC},
    {VfsCall::set_xattr, ENOSPC}, {VfsCall::set_attributes, EDQUOT},
};

}  // namespace

class RefusalTest : public ResyncTest {
   protected:
    using Prepare = std::function<std::unique_ptr<TestOp>()>;

    void begin_joined() {
        exclude_ = {"*.tmp"};
        begin(31);
        connect();
        ASSERT_TRUE(finish());
        join();
        directory_ = make_dir(kRootObject, "d");
    }
    std::string fresh() { return "n" + std::to_string(next_name_++); }
    ObjectId file(std::string_view content = "content") {
        return make_file(directory_, fresh(), content);
    }
    std::string last_name() const { return "n" + std::to_string(next_name_ - 1); }
    ObjectId nameless() { return create(directory_, "", S_IFREG | 0600); }

    static std::unique_ptr<TestOp> about(OpKind kind, ObjectId object) {
        auto op = std::make_unique<TestOp>();
        op->op.kind = kind;
        op->op.object = object;
        return op;
    }
    static std::unique_ptr<TestOp> named(OpKind kind, ObjectId parent, std::string name) {
        auto op = std::make_unique<TestOp>();
        op->op.kind = kind;
        op->op.parent = parent;
        op->name = std::move(name);
        return op;
    }
    std::unique_ptr<TestOp> moved(const std::string& from, const std::string& to,
                                  std::uint32_t flags = 0) {
        auto op = make_rename(directory_, from, directory_, to);
        op->op.flags = flags;
        return op;
    }
    std::unique_ptr<TestOp> made(std::uint32_t mode, std::string name) {
        auto op = named(OpKind::create, directory_, std::move(name));
        op->op.mode = mode;
        if (S_ISLNK(mode)) op->data = "target";
        return op;
    }

    // The op, prepared anew each time, with each of its calls refused in turn, by a pair of its own
    // that is in sync; then the same by a node alone, whose peer gets what differs afterwards.
    // `times_too`: false where a refused change of times leaves a directory's time different, which
    // only the log says.
    void sweep(const std::string& what, const Prepare& prepare, bool times_too = true) {
        for (const bool alone : {false, true}) {
            TearDown();
            begin_joined();
            if (alone) go_alone();
            for (const auto& [call, error] : kRefusals) {
                if (call == VfsCall::set_attributes && !times_too) continue;
                for (std::uint64_t skip = 0; refuse(what, prepare, call, skip, error); ++skip) {
                    if (!alone && !is_equal(what, call, skip)) return;
                }
            }
            if (!alone) continue;
            connect();
            finish();
            is_equal(what + " alone", VfsCall::close, 0);
        }
    }
    // False: the op was through before that call.
    bool refuse(const std::string& what, const Prepare& prepare, VfsCall call, std::uint64_t skip,
                int error) {
        const std::unique_ptr<TestOp> op = prepare();
        sim::ScriptedFaults faults;
        faults.add({call, a_->node.find("/tree").file_system, skip, 1, {error, false, 0}});
        a_->node.set_fault_policy(&faults);
        (void)run(*op);
        a_->node.set_fault_policy(nullptr);
        EXPECT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); })) << what;
        return faults.hits() != 0;
    }
    bool is_equal(const std::string& what, VfsCall call, std::uint64_t skip) {
        const std::string when = what + ", refused " + std::string(sim::vfs_call_name(call)) + " " +
                                 std::to_string(skip + 1);
        bool good = true;
        for (const Side* side : {a_.get(), b_.get()}) {
            for (const std::string& failure : side->failures) {
                ADD_FAILURE() << when << ": " << side->node.name() << ": " << failure;
                good = false;
            }
        }
        expect_equal(when);
        return good && tree_of(*a_) == tree_of(*b_);
    }

    ObjectId directory_;

   private:
    std::uint64_t next_name_ = 0;
};

TEST_F(RefusalTest, OfContent) {
    const auto write_of = [&](std::uint64_t offset, std::size_t size) {
        auto op = about(OpKind::write, file(std::string(70'000, 'o')));
        op->op.offset = offset;
        op->op.size = size;
        op->op.clear_set_id = true;
        op->data.assign(size, 'n');
        return op;
    };
    sweep("write", [&] { return write_of(10, 50'000); });
    sweep("large write", [&] { return write_of(60'000, 500'000); });
    for (const std::uint64_t size : {std::uint64_t{5}, std::uint64_t{300'000}}) {
        sweep("truncate to " + std::to_string(size), [&] {
            auto op = about(OpKind::truncate, file(std::string(70'000, 'o')));
            op->op.size = size;
            return op;
        });
    }
    for (const int mode : {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                           FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}) {
        sweep("allocate " + std::to_string(mode), [&] {
            auto op = about(OpKind::allocate, file(std::string(70'000, 'o')));
            op->op.flags = static_cast<std::uint32_t>(mode);
            op->op.offset = 5000;
            op->op.size = 100'000;
            return op;
        });
    }
    sweep("copy", [&] {
        auto op = about(OpKind::copy_range, file(std::string(70'000, 'o')));
        op->op.source = file(std::string(90'000, 's'));
        op->op.offset = 10'000;
        op->op.size = 80'000;
        return op;
    });
}

// It changes no bytes, so none are sent, however large the file is.
TEST_F(RefusalTest, OfMoreSpaceForALargeFileSendsNothing) {
    begin_joined();
    const ObjectId large = file(std::string(3 * kMiB, 'x'));
    a_->node.disk().set_capacity(5 * kMiB);
    auto op = about(OpKind::allocate, large);
    op->op.size = 8 * kMiB;
    const std::uint64_t before = wire_->counts.content_bytes;
    EXPECT_TRUE(run(*op).is_errno(ENOSPC));
    EXPECT_EQ(wire_->counts.content_bytes, before);
    expect_equal();
}

TEST_F(RefusalTest, OfNewObjects) {
    for (const std::uint32_t type :
         std::array<std::uint32_t, 4>{S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO}) {
        for (const std::uint32_t gid : {0U, 7U}) {
            sweep("create " + std::to_string(type), [&] {
                auto op = made(type | 04750U, fresh());
                op->op.gid = gid;
                return op;
            });
        }
    }
    sweep("nameless", [&] { return made(S_IFREG | 0600, ""); });
    sweep(
        "create excluded", [&] { return made(S_IFREG | 0600, fresh() + ".tmp"); }, false);
}

TEST_F(RefusalTest, OfNames) {
    const auto linked = [&](ObjectId object, const std::string& name) {
        auto op = named(OpKind::link, directory_, name);
        op->op.object = object;
        return op;
    };
    sweep("link", [&] { return linked(file(), fresh()); });
    sweep("link of a nameless file", [&] { return linked(nameless(), fresh()); });
    sweep(
        "nameless, excluded", [&] { return linked(nameless(), fresh() + ".tmp"); }, false);
    for (const bool in_use : {false, true}) {
        const std::string suffix = in_use ? " in use" : "";
        sweep("unlink" + suffix, [&] {
            file();
            auto op = named(OpKind::unlink, directory_, last_name());
            op->op.object_in_use = in_use;
            return op;
        });
        sweep("rename over a file" + suffix, [&] {
            file();
            const std::string from = last_name();
            file();
            auto op = moved(from, last_name());
            op->op.object_in_use = in_use;
            return op;
        });
    }
    sweep("rmdir", [&] {
        const std::string name = fresh();
        make_dir(directory_, name);
        return named(OpKind::remove_directory, directory_, name);
    });
    sweep("rename", [&] {
        file();
        return moved(last_name(), fresh());
    });
    sweep("exchange", [&] {
        file();
        const std::string from = last_name();
        file();
        return moved(from, last_name(), RENAME_EXCHANGE);
    });
    sweep("rename over a directory", [&] {
        const std::string from = fresh(), to = fresh();
        make_dir(directory_, from);
        make_dir(directory_, to);
        return moved(from, to);
    });
    sweep("release", [&] { return about(OpKind::release_orphan, nameless()); });
}

TEST_F(RefusalTest, OfPublications) {
    const auto excluded = [&] {
        const std::string name = fresh() + ".tmp";
        make_file(directory_, name, std::string(300'000, 'p'));
        return name;
    };
    sweep("publish", [&] { return moved(excluded(), fresh()); });
    sweep("publish over", [&] {
        file();
        const std::string to = last_name();
        return moved(excluded(), to);
    });
    sweep("withdraw", [&] {
        file();
        return moved(last_name(), fresh() + ".tmp");
    });
    sweep("withdraw over", [&] {
        const std::string to = excluded();
        file();
        return moved(last_name(), to);
    });
    sweep(
        "rename excluded", [&] { return moved(excluded(), fresh() + ".tmp"); }, false);
    sweep(
        "unlink excluded", [&] { return named(OpKind::unlink, directory_, excluded()); }, false);
}

TEST_F(RefusalTest, OfAttributes) {
    sweep("attributes", [&] {
        auto op = about(OpKind::set_attributes, file());
        op->op.mask = kSetMode | kSetOwner | kSetAccessed | kSetModified;
        op->op.mode = 0751;
        op->op.uid = op->op.gid = 5;
        op->op.accessed = op->op.modified = {77, 7};
        return op;
    });
    sweep("owner of a set-id program", [&] {
        auto op = about(OpKind::set_attributes, create(directory_, fresh(), S_IFREG | 06755));
        op->op.mask = kSetOwner;
        op->op.uid = 5;
        return op;
    });
    sweep("xattr", [&] {
        auto op = about(OpKind::set_xattr, file());
        op->name = "user.x";
        op->data = "value";
        return op;
    });
    sweep("no xattr", [&] {
        const ObjectId object = file();
        set_xattr(object, "user.x", "value");
        auto op = about(OpKind::remove_xattr, object);
        op->name = "user.x";
        return op;
    });
}

}  // namespace gemel::resync_test
