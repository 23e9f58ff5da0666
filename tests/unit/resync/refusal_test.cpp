// SPDX-License-Identifier: Apache-2.0
// A refusal (a full volume, a quota, no descriptors left) at every step of every op of the serving
// node: whatever the application is told, both copies stay equal, and both nodes go on.
#include "engine/io/sim/fault_policy.hpp"
#include "tests/unit/resync/op_catalogue.hpp"

#include <utility>

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

class RefusalTest : public OpCatalogueTest {
   protected:
    // The op, prepared anew each time, with each of its calls refused in turn, by a pair of its own
    // that is in sync; then the same by a node alone, whose peer gets what differs afterwards.
    // Where a directory's time can't be put back, only the log says so.
    void sweep(const CatalogueOp& tried) {
        for (const bool alone : {false, true}) {
            TearDown();
            begin_joined();
            if (alone) go_alone();
            for (const auto& [call, error] : kRefusals) {
                if (call == VfsCall::set_attributes && !tried.is_mirrored) continue;
                for (std::uint64_t skip = 0; refuse(tried, call, skip, error); ++skip) {
                    if (!alone && !is_equal(tried.what, call, skip)) return;
                }
            }
            if (!alone) continue;
            connect();
            finish();
            is_equal(tried.what + " alone", VfsCall::close, 0);
        }
    }
    // False: the op was through before that call.
    bool refuse(const CatalogueOp& tried, VfsCall call, std::uint64_t skip, int error) {
        const std::unique_ptr<TestOp> op = tried.prepare();
        sim::ScriptedFaults faults;
        faults.add({call, a_->node.find("/tree").file_system, skip, 1, {error, false, 0}});
        a_->node.set_fault_policy(&faults);
        (void)run(*op);
        a_->node.set_fault_policy(nullptr);
        EXPECT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }))
            << tried.what;
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
};

TEST_F(RefusalTest, OfContent) {
    for (const CatalogueOp& op : content_ops()) sweep(op);
}

TEST_F(RefusalTest, OfNewObjects) {
    for (const CatalogueOp& op : new_object_ops()) sweep(op);
}

TEST_F(RefusalTest, OfNames) {
    for (const CatalogueOp& op : name_ops()) sweep(op);
}

TEST_F(RefusalTest, OfPublications) {
    for (const CatalogueOp& op : publication_ops()) sweep(op);
}

TEST_F(RefusalTest, OfAttributes) {
    for (const CatalogueOp& op : attribute_ops()) sweep(op);
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

}  // namespace gemel::resync_test
